"""One pass over the drift checks of a dataset: observe, tell what has ended, begin what is due.

A pod is deleted only after the status tells its verdict; its name follows from the time that it checks for,
so that a pass that is repeated anywhere makes no second one. It does not know how data are compared."""

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from deepseek_operator.api.dataset import DatasetStatus, DeepSeekDataset
from deepseek_operator.api.drift_check import DriftCheck, DriftCheckStatus
from deepseek_operator.cluster.interface import AlreadyExists, Document, Forbidden, Rejected
from deepseek_operator.cluster.kinds import DATASET, POD
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.drift_plan import DriftPlan, is_prepared, plan_drift_check
from deepseek_operator.reconcile.events import tell
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.pods import delete_pods, observe_drift_checks
from deepseek_operator.reconcile.run_objects import (
    NameTaken,
    RunConfigLost,
    ensure_network_policy,
    pinned_run,
)
from deepseek_operator.resources.drift_check import build_drift_check_pod
from deepseek_operator.resources.pod_set import EndpointUnusable, pod_set_of, resource_name
from deepseek_operator.resources.run_objects import RunConfigMissing
from deepseek_operator.resources.schedule import InvalidSchedule
from deepseek_operator.status.draft import Draft, merge
from deepseek_operator.status.drift import (
    CHECK_FAILED,
    DRIFT_DETECTED,
    INVALID_SCHEDULE,
    after_check,
    condition_of,
    later,
    verdict_of,
)
from deepseek_operator.status.events import drift_event


async def reconcile_drift_check(context: Context, key: Key) -> float | None:
    """Seconds until the next look. Raises ClusterError: the pass is then repeated from the start."""
    document = await context.cluster.get(DATASET, name=key.name, namespace=key.namespace)
    dataset = _readable(document)
    if document is None or dataset is None:
        return None
    name, now = resource_name(dataset), context.clock.now().replace(microsecond=0)
    check, told = dataset.spec.drift_check, dataset.status.drift_check
    if check is None and told is None:
        return None
    pods = await observe_drift_checks(context.cluster, name)
    draft, status, begun = None, told or DriftCheckStatus(), ""
    try:
        plan = plan_drift_check(dataset, pods, now=now)
    except InvalidSchedule as invalid:
        plan, draft = (
            DriftPlan(),
            Draft(DRIFT_DETECTED, "Unknown", INVALID_SCHEDULE, _schedule_words(invalid)),
        )
    if plan.ended is not None and check is not None:
        verdict = verdict_of(plan.ended)
        status = after_check(dataset, plan.ended, verdict)
        draft = condition_of(verdict, threshold=float(check.threshold))
    elif plan.begin is not None and check is not None:
        draft, begun = await _begin(context, dataset, check, plan.begin)
        if begun:
            served = later(status.last_schedule_time, plan.begin)
            status = status.model_copy(update={"last_schedule_time": served})
    at_work = begun or next((pod.name for pod in pods if not pod.ended), "")
    next_time = plan.next or _kept(plan, status, check)
    status = status.model_copy(update={"next_schedule_time": next_time, "pod": at_work})
    await _publish(context, dataset, document, status, draft, now=now)
    await delete_pods(context.cluster, name, pods=plan.delete)
    return _after(context, dataset, plan, now)


def _readable(document: Document | None) -> DeepSeekDataset | None:
    """One that cannot be read is told of by the reconciliation of its run."""
    if document is None or document["metadata"].get("deletionTimestamp"):
        return None
    try:
        return DeepSeekDataset.model_validate(document)
    except ValidationError:
        return None


async def _begin(
    context: Context, dataset: DeepSeekDataset, check: DriftCheck, scheduled: datetime
) -> tuple[Draft | None, str]:
    """What stands in the way, or the name of the pod."""
    name = resource_name(dataset)
    try:
        pinned = await pinned_run(context.cluster, name, digest=dataset.status.run_config_digest)
        if pinned is None:
            raise RunConfigLost(f"ConfigMap {name.run_config_map} was deleted: create the dataset again")
        pod_set = pod_set_of(dataset, run=pinned.run, settings=context.build)
        await ensure_network_policy(context.cluster, pod_set)
        pod = build_drift_check_pod(pod_set, check=check, digest=dataset.status.digest, scheduled=scheduled)
        await context.cluster.create(POD, pod)
    except AlreadyExists:
        return None, str(pod["metadata"]["name"])
    except (NameTaken, RunConfigLost, RunConfigMissing, EndpointUnusable, Forbidden, Rejected) as refused:
        return Draft(DRIFT_DETECTED, "Unknown", CHECK_FAILED, str(refused)), ""
    return None, str(pod["metadata"]["name"])


async def _publish(
    context: Context,
    dataset: DeepSeekDataset,
    document: Document,
    status: DriftCheckStatus,
    draft: Draft | None,
    *,
    now: datetime,
) -> None:
    """Events first: none is lost when the pass is repeated. Nothing is written if nothing changed."""
    conditions = dataset.status.conditions
    if draft is not None:
        generation = dataset.metadata.generation
        conditions = merge(conditions, [draft], now=now, generation=generation)
    fields: dict[str, Any] = {"drift_check": status, "conditions": conditions}
    new: DatasetStatus = dataset.status.model_copy(update=fields)
    if new == dataset.status:
        return
    event = drift_event(dataset.status, new)
    await tell(
        context.cluster,
        [event] if event is not None else [],
        resource=document,
        now=context.clock.now(),
        reporting_instance=context.operator_name,
    )
    await context.cluster.replace_status(DATASET, document | {"status": new.to_document()})


def _kept(plan: DriftPlan, status: DriftCheckStatus, check: DriftCheck | None) -> datetime | None:
    """While a verdict is told the next time stays as it was."""
    return status.next_schedule_time if plan.ended is not None and check is not None else None


def _after(context: Context, dataset: DeepSeekDataset, plan: DriftPlan, now: datetime) -> float | None:
    if plan.ended is not None or (plan.delete and dataset.spec.drift_check is not None):
        return 0.0
    if plan.next is None or not is_prepared(dataset):
        return None
    waiting = context.intervals.waiting
    return waiting if plan.begin is not None else max(1.0, (plan.next - now).total_seconds())


def _schedule_words(error: InvalidSchedule) -> str:
    return f"spec.driftCheck.schedule: {error}: use five fields, for instance 0 3 * * 1"
