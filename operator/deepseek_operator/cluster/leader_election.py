"""One of several operator processes works at a time: whoever holds the Lease.

A Lease is no fence: a process that was stopped for a while may act once more before it learns that it lost.
Reconcile is safe against that (create-only names, resource versions); it does not know about leaders.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

_LOG = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process may lead by now; this one has to end."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds. A standby follows a dead leader after at most `duration + 2 * retry`."""

    duration: int = 10
    renew_deadline: float = 7.0
    retry: float = 1.0


class BoundedLeaseLock:
    """The client's LeaseLock with a time limit, whose connection errors are refusals instead of exceptions.

    Without it a restart of the API server would end the leader at once rather than at its renew deadline.
    """

    def __init__(
        self, client: ApiClient, *, name: str, namespace: str, identity: str, timeout_seconds: float
    ) -> None:
        self._lock = LeaseLock(name, namespace, identity, client)
        self._timeout = timeout_seconds
        self.renewed_at = 0.0  # when the last request that renewed it was begun, by time.monotonic()
        self.name, self.namespace, self.identity = name, namespace, identity

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            async with asyncio.timeout(self._timeout):
                status, record = await self._lock.get(name, namespace)
                return bool(status), record
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__}: {error}")

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """In place of the client's own create, which in 37.0.1 passes a bool that its own API refuses."""
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=self._lock.update_lease(election_record))
        return await self._renewing(self._lock.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        return await self._renewing(self._lock.update(name, namespace, updated_record))

    async def release(self) -> None:
        """Gives the Lease up, so that a standby need not wait for its end. Failing to is harmless."""
        held, _ = await self.get(self.name, self.namespace)
        lease = self._lock.lease_reference
        if not held or lease is None or lease.spec.holder_identity != self.identity:
            return
        lease.spec.holder_identity = ""
        replaced = self._lock.api_instance.replace_namespaced_lease(self.name, self.namespace, lease)
        if not await self._bounded(replaced):
            _LOG.warning("could not release the Lease %s/%s; it will expire", self.namespace, self.name)

    async def _renewing(self, request: Awaitable[Any]) -> bool:
        begun = time.monotonic()
        renewed = await self._bounded(request)
        if renewed:
            self.renewed_at = begun
        return renewed

    async def _bounded(self, request: Awaitable[Any]) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                return bool(await request)
        except (aiohttp.ClientError, TimeoutError, OSError, ApiException) as error:
            _LOG.warning("Lease %s/%s: %s: %s", self.namespace, self.name, type(error).__name__, error)
            return False


async def lead(
    lock: BoundedLeaseLock,
    *,
    times: LeaseTimes,
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
) -> None:
    """Waits for the Lease, then works while it is held; returns when `stop` is set or the work is done.

    Raises LeaseLost when the Lease could not be renewed in time, and whatever the work raises.
    """
    acquired = asyncio.Event()
    election = asyncio.create_task(_elect(lock, times, acquired), name="leader election")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await _first(election, stopped, asyncio.create_task(acquired.wait(), name="lease"))
        if not acquired.is_set():
            if election.done():
                await election  # raises what ended it
            return
        _LOG.info("leading: %s holds the Lease %s/%s", lock.identity, lock.namespace, lock.name)
        lost = False
        try:
            await _work_while_held(asyncio.create_task(_end_of(election, lock, times)), stopped, work)
        except LeaseLost:
            lost = True
            raise
        finally:
            election.cancel()
            await asyncio.gather(election, return_exceptions=True)
            if not lost:
                await lock.release()
    finally:
        election.cancel()
        stopped.cancel()


async def _elect(lock: BoundedLeaseLock, times: LeaseTimes, acquired: asyncio.Event) -> None:
    async def started() -> None:
        acquired.set()

    config = Config(
        lock,
        lease_duration=times.duration,
        renew_deadline=times.renew_deadline,
        retry_period=times.retry,
        onstarted_leading=started,
        onstopped_leading=None,
    )
    await LeaderElection(config).run()


async def _end_of(election: asyncio.Task[None], lock: BoundedLeaseLock, times: LeaseTimes) -> None:
    """Returns when the Lease is lost: `renew_deadline` after the last renewal was begun, whatever a request
    that is under way may still bring. The election alone would finish its last try first, which may take
    longer than the Lease lasts."""
    while not election.done():
        left = lock.renewed_at + times.renew_deadline - time.monotonic()
        if left <= 0:
            return
        await asyncio.wait([election], timeout=left)


async def _work_while_held(
    lost: asyncio.Task[None], stopped: asyncio.Task[Any], work: Callable[[], Awaitable[None]]
) -> None:
    working = asyncio.ensure_future(work())
    try:
        await _first(lost, stopped, working)
        if working.done():
            await working
        elif lost.done():
            raise LeaseLost("the Lease could not be renewed within its deadline")
    finally:
        lost.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _first(*tasks: asyncio.Future[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
