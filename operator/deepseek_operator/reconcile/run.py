"""One pass over a resource that runs pods: observe, decide, create, push, tell, write status once, delete.

The order makes it safe to be killed anywhere: a pod carries what its replacement must know, so it is deleted
only after the replacement exists and the status is written; what is created has a name that is used once.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.meta import RunStatus
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.cluster.interface import Cluster, Document, Forbidden, PushAnswer, Rejected
from deepseek_operator.cluster.kinds import Kind
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.events import tell
from deepseek_operator.reconcile.inputs import Inputs
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.model_revision import Recorded
from deepseek_operator.reconcile.plan import Plan, plan_run, without_creation, without_standbys
from deepseek_operator.reconcile.pod_changes import coordinator_incarnation, is_active
from deepseek_operator.reconcile.pods import create_pods, delete_pods, observe_pods
from deepseek_operator.reconcile.run_objects import (
    NameTaken,
    PinnedRun,
    RunConfigLost,
    ensure_network_objects,
    ensure_sized_run,
    ensure_token,
    pin_run,
    pinned_run,
)
from deepseek_operator.reconcile.unreadable import tell_unreadable
from deepseek_operator.resources.names import job_token
from deepseek_operator.resources.pod_set import EndpointUnusable, pod_set_of, resource_name
from deepseek_operator.resources.run_objects import RunConfigMissing
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.status.conditions import refused_since
from deepseek_operator.status.events import events_between
from deepseek_operator.status.observed import Observed, PodFacts
from deepseek_operator.status.outcome import FAILED, SUCCEEDED, RunResource, coordinator_of, outcome_of
from deepseek_operator.status.size import size_of
from deepseek_workloads.contract.environment import ROLE_STANDBY
from deepseek_workloads.contract.messages import Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.size_rules import run_of_size

_LOG = logging.getLogger(__name__)

R = TypeVar("R", DeepSeekTrainingJob, DeepSeekDataset)
S = TypeVar("S", bound=RunStatus)


@dataclass(frozen=True)
class RunKind(Generic[R]):
    """What differs between the kinds that run pods."""

    kind: Kind
    parse: Callable[[Document], R]  # raises pydantic.ValidationError
    inputs: Callable[[Cluster, R, BuildSettings], Awaitable[Inputs]]  # (cluster, resource, default images)
    compute_status: Callable[[R, Observed], RunStatus]
    record: Callable[[Cluster, R, Verdict, Observed], Awaitable[Recorded]]  # of a success
    revision: Callable[[R], str]  # recorded earlier


@dataclass(frozen=True)
class Refused:
    """Why the cluster refused what the plan creates, in words; empty where it did not."""

    run: str = ""  # pods of the run, or what they need
    standbys: str = ""  # without which the run goes on


NOTHING_REFUSED: Final = Refused()


async def reconcile_run(context: Context, kind: RunKind[R], key: Key) -> float | None:
    """Seconds until the next look. Raises ClusterError: the pass is then repeated from the start."""
    document = await context.cluster.get(kind.kind, name=key.name, namespace=key.namespace)
    if document is None or document["metadata"].get("deletionTimestamp"):
        context.dependencies.record(key, on=frozenset())
        context.resync.forget(key)
        return None
    try:
        resource = kind.parse(document)
    except ValidationError as error:
        await tell_unreadable(context, kind.kind, document, error)
        return None
    observed = await _observe(context, kind, resource, key)
    status = kind.compute_status(resource, observed)
    plan = plan_run(resource, status, observed, intervals=context.intervals)
    refused = await _create(context, resource, observed, plan, key)
    control_refused = await _push(context, resource, observed, plan)
    if refused != NOTHING_REFUSED or control_refused:
        observed = replace(
            observed,
            refused=refused.run,
            standbys_refused=refused.standbys,
            control_refused=control_refused,
        )
        status = kind.compute_status(resource, observed)
        plan = plan_run(resource, status, observed, intervals=context.intervals)
        plan = without_creation(plan) if refused.run else plan
        plan = without_standbys(plan) if refused.standbys else plan
    await _publish(context, kind, resource, status, document)
    await delete_pods(context.cluster, resource_name(resource), pods=plan.pods.delete)
    return plan.after


async def _observe(context: Context, kind: RunKind[R], resource: R, key: Key) -> Observed:
    observed = Observed(
        now=context.clock.now().replace(microsecond=0),  # Kubernetes' times are whole seconds
        pods=await observe_pods(context.cluster, resource_name(resource)),
        revision=kind.revision(resource),
    )
    if not _is_finished(resource.status):
        observed = await _observe_inputs(context, kind, resource, key, observed)
        observed = replace(observed, progress=await _progress(context, coordinator_of(observed)))
    return await _record(context, kind, resource, observed)


def _is_finished(status: RunStatus) -> bool:
    return any(each.type in (SUCCEEDED, FAILED) and each.status == "True" for each in status.conditions)


async def _observe_inputs(
    context: Context, kind: RunKind[R], resource: R, key: Key, observed: Observed
) -> Observed:
    """The pinned run config; where there is none yet, why not, or it is pinned now."""
    name, digest = resource_name(resource), resource.status.run_config_digest
    try:
        pinned = await pinned_run(context.cluster, name, digest=digest)
        if pinned is None:
            inputs = await kind.inputs(context.cluster, resource, context.build)
            waiting = inputs.waiting or {}
            context.dependencies.record(key, on=frozenset(waiting))
            if inputs.render is None:
                return replace(observed, problems=inputs.problems, waiting=tuple(waiting.values()))
            pinned = await pin_run(context.cluster, name, digest=digest, render=inputs.render)
    except NameTaken as taken:
        return replace(observed, conflict=str(taken))
    except (RunConfigLost, RunConfigMissing, Forbidden, Rejected) as refused:
        return replace(observed, refused=str(refused))
    return _with_run(context, resource, observed, pinned)


def _with_run(context: Context, resource: RunResource, observed: Observed, pinned: PinnedRun) -> Observed:
    observed = replace(observed, run=pinned.run, run_config_digest=pinned.digest)
    if not isinstance(resource, DeepSeekTrainingJob) or not isinstance(pinned.run, TrainingRun):
        return observed
    size = size_of(
        resource,
        pinned.run,
        observed.pods,
        now=observed.now,
        patience=context.patience,
        refused_since=refused_since(resource.status),
    )
    return replace(observed, size=size, run=run_of_size(pinned.run, size.nodes))


async def _progress(context: Context, coordinator: PodFacts | None) -> Progress | None:
    if coordinator is None or not coordinator.ip or not is_active(coordinator):
        return None
    return await context.coordinators.progress(coordinator.ip)


async def _record(context: Context, kind: RunKind[R], resource: R, observed: Observed) -> Observed:
    """A success is recorded before the status says so."""
    outcome = outcome_of(resource, observed)
    verdict = outcome.verdict if outcome is not None and outcome.succeeded else None
    if verdict is None or observed.revision:
        return observed
    if observed.run is None:  # the success is in the status already, its record is not
        with contextlib.suppress(NameTaken, RunConfigLost, RunConfigMissing):
            pinned = await pinned_run(context.cluster, resource_name(resource), digest="")
            observed = observed if pinned is None else _with_run(context, resource, observed, pinned)
    recorded = await kind.record(context.cluster, resource, verdict, observed)
    return replace(observed, revision=recorded.revision, revision_refused=recorded.refused)


async def _create(context: Context, resource: R, observed: Observed, plan: Plan, key: Key) -> Refused:
    """The pods of the run before those that only wait for nodes beside it."""
    due = plan.objects and bool(observed.pods) and context.resync.due(key, now=observed.now)
    if observed.run is None or not (plan.pods.create or due):
        return NOTHING_REFUSED
    incarnation = coordinator_incarnation(observed.pods, plan.pods.create)
    name, nodes = resource_name(resource), observed.size.other_than_pinned if observed.size else None
    config_map = name.run_config_map if nodes is None else name.run_config_map_of(nodes)
    try:
        pod_set = pod_set_of(resource, run=observed.run, settings=context.build, run_config_map=config_map)
        if plan.pods.create:
            await ensure_token(context.cluster, name, token=job_token(context.operator_key, name))
            if nodes is not None:
                await ensure_sized_run(context.cluster, name, observed.run, nodes=nodes)
        await ensure_network_objects(context.cluster, pod_set, incarnation=incarnation)
        context.resync.done(key, now=observed.now)
        members = [pod for pod in plan.pods.create if pod.role != ROLE_STANDBY]
        await create_pods(context.cluster, pod_set, new=members)
    except (NameTaken, RunConfigLost, EndpointUnusable, Forbidden, Rejected) as refused:
        return Refused(run=str(refused))
    try:
        standbys = [pod for pod in plan.pods.create if pod.role == ROLE_STANDBY]
        await create_pods(context.cluster, pod_set, new=standbys)
    except (NameTaken, Forbidden, Rejected) as refused:
        return Refused(standbys=str(refused))
    return NOTHING_REFUSED


async def _publish(
    context: Context, kind: RunKind[R], resource: R, status: RunStatus, document: Document
) -> None:
    """Events first: none is lost when the pass is repeated. Nothing is written if nothing changed."""
    if status == resource.status:
        return
    if status.state != resource.status.state:
        _LOG.info(
            "%s %s/%s: %s", kind.kind.kind, resource.metadata.namespace, resource.metadata.name, status.state
        )
    await tell(
        context.cluster,
        events_between(resource.status, status),
        resource=document,
        now=context.clock.now(),
        reporting_instance=context.operator_name,
    )
    await context.cluster.replace_status(kind.kind, document | {"status": status.to_document()})


async def _push(context: Context, resource: R, observed: Observed, plan: Plan) -> str:
    """Why the coordinator refuses what the plan asks of it, in words; empty when it does not."""
    coordinator, name = coordinator_of(observed), resource_name(resource)
    if plan.control is None or coordinator is None:
        return ""
    token = job_token(context.operator_key, name)
    answer = await context.coordinators.push(coordinator.ip, control=plan.control, token=token)
    if answer is not PushAnswer.REFUSED:
        return ""
    return (
        f"pod {coordinator.name} does not know the operator's token, which is made from the operator's key: "
        f"restore that Secret, or delete Secret {name.token_secret}, set spec.suspend to true and, when the "
        "pods have ended, to false: a new token is made"
    )
