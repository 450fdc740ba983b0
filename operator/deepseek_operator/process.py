"""The operator process: waits for the Lease, then watches, queues and reconciles until it is stopped.

It puts the parts together and decides nothing about resources.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import kopf
from kubernetes.aio.client import ApiClient

from deepseek_operator.cluster.api_server import ApiServer
from deepseek_operator.cluster.connection import connect
from deepseek_operator.cluster.coordinator_channel import CoordinatorChannel
from deepseek_operator.cluster.interface import ClusterError
from deepseek_operator.cluster.kinds import WATCHED
from deepseek_operator.cluster.leader_election import BoundedLeaseLock, LeaseTimes, lead
from deepseek_operator.cluster.system_clock import SystemClock
from deepseek_operator.handlers import OnEvent, build_registry, build_settings
from deepseek_operator.health import Check, build_application, serve
from deepseek_operator.metrics import Metrics
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.dependencies import Dependencies
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.plan import Intervals
from deepseek_operator.reconcile.reconcilers import build_reconcilers
from deepseek_operator.reconcile.resync import Resync
from deepseek_operator.reconcile.watch_check import WatchCheck
from deepseek_operator.reconcile.work_queue import WorkQueue
from deepseek_operator.reconcile.worker import Workers
from deepseek_operator.settings import Settings
from deepseek_operator.status.size import Patience

_LOG = logging.getLogger(__name__)
_MISSES_UNTIL_RESTART = 3


class CustomResourcesMissing(Exception):
    """The CRDs are not installed, or the operator may not list them."""


@dataclass(frozen=True)
class _Parts:
    """What lives as long as the process, leading or not."""

    settings: Settings
    key: bytes  # of the operator; tokens of runs are derived from it
    metrics: Metrics
    server: ApiServer
    live: dict[str, Check]
    stop: asyncio.Event


async def run(settings: Settings, *, key: bytes) -> None:
    """Until SIGTERM or SIGINT. Raises LeaseLost, CustomResourcesMissing or what a part failed with."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    metrics, live = Metrics(), dict[str, Check]()
    application = build_application(live=live, registry=metrics.registry)
    health = await serve(application, host=settings.http_host, port=settings.http_port)
    try:
        async with _api_client() as client:
            server = ApiServer(
                client, timeout_seconds=settings.request_timeout_seconds, observe=metrics.observe_request
            )
            parts = _Parts(settings, key, metrics, server, live, stop)
            await lead(
                _lock(client, settings), times=_times(settings), work=lambda: _operate(parts), stop=stop
            )
    finally:
        await health.cleanup()


async def _operate(parts: _Parts) -> None:
    """While the Lease is held."""
    settings, metrics = parts.settings, parts.metrics
    queue, dependencies = WorkQueue(), Dependencies()
    check = WatchCheck(parts.server, namespaces=settings.watch_namespaces, enqueue=queue.add)
    await _require_custom_resources(parts)

    def on_event(key: Key, resource_version: str | None) -> None:
        metrics.watch_events.labels(resource=key.kind.plural if resource_version else "pods").inc()
        if resource_version is not None:
            check.saw(key, resource_version)
        for each in (key, *dependencies.of(key)):
            queue.add(each)

    parts.live["watches"] = lambda: (
        f"changes went unreported in the last {check.consecutive_misses} comparisons"
        if check.consecutive_misses >= _MISSES_UNTIL_RESTART
        else ""
    )
    metrics.watch_queue(queue.__len__)
    async with CoordinatorChannel(on_invalid=metrics.invalid_progress.inc) as coordinators:
        context = _context(parts, coordinators, dependencies)
        workers = Workers(
            queue,
            reconcilers=build_reconcilers(context),
            metrics=metrics,
            timeout_seconds=settings.reconcile_timeout_seconds,
        )
        parts.live["workers"] = workers.hung
        metrics.leading.set(1)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(workers.run(settings.concurrency), name="workers")
                group.create_task(_check_watches(check, metrics, settings.watch_check_seconds))
                group.create_task(_watch(parts, on_event=on_event), name="watches")
        finally:
            metrics.leading.set(0)
            queue.close()


def _context(parts: _Parts, coordinators: CoordinatorChannel, dependencies: Dependencies) -> Context:
    settings, clock = parts.settings, SystemClock()
    return Context(
        cluster=parts.server,
        coordinators=coordinators,
        clock=clock,
        dependencies=dependencies,
        build=settings.build_settings(),
        operator_key=parts.key,
        operator_name=settings.operator_name,
        operator_since=clock.now(),
        intervals=Intervals(
            progress=settings.progress_interval_seconds, resync=settings.resync_interval_seconds
        ),
        resync=Resync(seconds=settings.resync_interval_seconds),
        patience=Patience(shrink=settings.shrink_after_seconds, grow=settings.grow_after_seconds),
    )


async def _watch(parts: _Parts, *, on_event: OnEvent) -> None:
    """kopf, until it is cancelled or one of its own tasks fails."""
    namespaces = parts.settings.watch_namespaces
    existing = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=build_registry(on_event),
        settings=build_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )
    _stop_on_signals(parts.stop)  # kopf has put its own handlers in their place
    await kopf.run_tasks(tasks, ignored=existing)
    raise RuntimeError("kopf ended although nobody stopped it")


async def _check_watches(check: WatchCheck, metrics: Metrics, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        for key in await check.check():
            metrics.missed_events.labels(resource=key.kind.plural).inc()
            _LOG.warning("%s changed, and no watch reported it", key)


async def _require_custom_resources(parts: _Parts) -> None:
    for kind in WATCHED:
        for namespace in parts.settings.watch_namespaces or ("",):
            try:
                await parts.server.list_metadata(kind, namespace=namespace)
            except ClusterError as error:
                raise CustomResourcesMissing(
                    f"{kind.kind} cannot be listed in {namespace or 'all namespaces'}: {error}; install the "
                    "CRDs (manifests/crds) and the roles of the chart"
                ) from error


@contextlib.asynccontextmanager
async def _api_client() -> AsyncIterator[ApiClient]:
    client = await connect()
    try:
        yield client
    finally:
        await client.close()


def _lock(client: ApiClient, settings: Settings) -> BoundedLeaseLock:
    return BoundedLeaseLock(
        client,
        name=settings.lease_name,
        namespace=settings.operator_namespace,
        identity=settings.operator_name,
        timeout_seconds=settings.lease_retry_seconds * 2,
    )


def _times(settings: Settings) -> LeaseTimes:
    return LeaseTimes(
        duration=settings.lease_duration_seconds,
        renew_deadline=settings.lease_renew_deadline_seconds,
        retry=settings.lease_retry_seconds,
    )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
