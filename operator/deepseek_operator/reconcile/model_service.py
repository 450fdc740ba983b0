"""One pass over a service: observe, decide, create, tell, write status once, switch, delete.

The order makes it safe to be killed anywhere. A cluster's id is in the status before anything of it exists;
what the stable Service selects is read again in each pass, so that a switch that the status does not know of
is learned from it; and what serves is deleted only after requests are known to go elsewhere.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.model_service_status import ServiceStatus
from deepseek_operator.cluster.interface import Document, Forbidden, Rejected
from deepseek_operator.cluster.kinds import MODEL_SERVICE
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.events import tell
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.pod_changes import PodChanges, coordinator_incarnation
from deepseek_operator.reconcile.pods import create_pods, delete_pods
from deepseek_operator.reconcile.run_objects import NameTaken, ensure_serving_objects, ensure_token
from deepseek_operator.reconcile.service_observation import observe_service
from deepseek_operator.reconcile.service_plan import ServicePlan, plan_service
from deepseek_operator.reconcile.serving_objects import (
    PinnedCluster,
    collect_cluster,
    pin_cluster,
    select_cluster,
)
from deepseek_operator.reconcile.unreadable import tell_unreadable
from deepseek_operator.resources.names import job_token
from deepseek_operator.resources.pod_set import EndpointUnusable
from deepseek_operator.resources.serving import cluster_name, serving_pod_set, with_baseline
from deepseek_operator.status.model_service import compute_status
from deepseek_operator.status.rollout import Rollout, next_rollout
from deepseek_operator.status.service_events import service_events
from deepseek_operator.status.service_observed import ClusterFacts, ServiceObserved
from deepseek_workloads.contract.run_config import CheckBaseline

_LOG = logging.getLogger(__name__)


async def reconcile_service(context: Context, key: Key) -> float | None:
    """Seconds until the next look. Raises ClusterError: the pass is then repeated from the start."""
    document = await context.cluster.get(MODEL_SERVICE, name=key.name, namespace=key.namespace)
    if document is None or document["metadata"].get("deletionTimestamp"):
        context.dependencies.record(key, on=frozenset())
        context.resync.forget(key)
        return None
    try:
        service = DeepSeekModelService.model_validate(document)
    except ValidationError as error:
        await tell_unreadable(context, MODEL_SERVICE, document, error)
        return None
    observed = await observe_service(context, service, key)
    rollout = next_rollout(service, observed)
    plan = plan_service(service, rollout, observed, intervals=context.intervals)
    refused = await _create(context, service, observed, rollout, plan)
    if refused:
        observed = _with_refused(observed, refused)
        rollout = next_rollout(service, observed)
    await _publish(context, service, compute_status(service, observed, rollout), document)
    if plan.select and (plan.select != observed.selected or not observed.service_intact):
        await select_cluster(context.cluster, service, plan.select)
    for cluster, changes in plan.pods.items():
        # A pod carries what its replacement must know: it stays until there is one.
        if cluster not in refused:
            await delete_pods(context.cluster, cluster_name(service, cluster), pods=changes.delete)
    for cluster in plan.collect:
        uid = observed.cluster(cluster).run_config_uid
        await collect_cluster(context.cluster, cluster_name(service, cluster, run_config_uid=uid))
    return context.intervals.waiting if refused else plan.after


def _with_refused(observed: ServiceObserved, refused: Mapping[str, str]) -> ServiceObserved:
    clusters = {
        each: replace(facts, refused=refused.get(each, facts.refused))
        for each, facts in {**{id_: ClusterFacts() for id_ in refused}, **observed.clusters}.items()
    }
    return replace(observed, clusters=clusters)


async def _create(
    context: Context,
    service: DeepSeekModelService,
    observed: ServiceObserved,
    rollout: Rollout,
    plan: ServicePlan,
) -> dict[str, str]:
    """By cluster, why the API server refused what the plan creates, in words."""
    refused = {}
    key = Key(MODEL_SERVICE, service.metadata.namespace, service.metadata.name)
    due = context.resync.due(key, now=observed.now)
    for cluster, changes in plan.pods.items():
        facts = observed.cluster(cluster)
        try:
            pinned = await _pinned(context, service, cluster, changes, observed, rollout)
            if pinned is not None:
                await _create_cluster(context, service, facts, changes, pinned)
            elif due and cluster in plan.serving:
                await _put_right(context, service, cluster, facts)
        except (NameTaken, EndpointUnusable, Forbidden, Rejected) as error:
            refused[cluster] = str(error)
    if due and not refused:
        context.resync.done(key, now=observed.now)
    return refused


async def _pinned(
    context: Context,
    service: DeepSeekModelService,
    cluster: str,
    changes: PodChanges,
    observed: ServiceObserved,
    rollout: Rollout,
) -> PinnedCluster | None:
    """What the pods to be created are made from; None: nothing is to be created. Raises NameTaken."""
    facts, target = observed.cluster(cluster), observed.target
    active = rollout.active if rollout.active is not None and rollout.active.cluster_id == cluster else None
    if not changes.create and (facts.run_config_uid or active is None):
        return None
    if facts.refused:
        raise NameTaken(facts.refused)
    if facts.run_config_uid:
        name = cluster_name(service, cluster, run_config_uid=facts.run_config_uid)
        return PinnedCluster(name, facts.template_hash, facts.run, facts.template)
    if target is None or (active is not None and active.template_hash != target.template_hash):
        raise NameTaken(_lost(service, cluster))
    baseline = None if active is not None else _baseline(observed, rollout)
    return await pin_cluster(
        context.cluster,
        service,
        cluster,
        run=with_baseline(target.run, baseline),
        template=target.template,
        template_hash=target.template_hash,
    )


def _lost(service: DeepSeekModelService, cluster: str) -> str:
    config_map = cluster_name(service, cluster).run_config_map
    return f"ConfigMap {config_map} was deleted: pods of its cluster go on, but cannot be replaced"


def _baseline(observed: ServiceObserved, rollout: Rollout) -> CheckBaseline | None:
    """What the candidate is compared with; none, where the active revision was never measured."""
    active = rollout.active
    run = observed.cluster(active.cluster_id).run if active is not None else None
    if active is None or run is None or active.bits_per_byte is None:
        return None
    value = float(active.bits_per_byte)
    if not 0 < value < float("inf"):
        return None
    return CheckBaseline(storage=run.revision.storage, digest=active.digest, bits_per_byte=value)


async def _create_cluster(
    context: Context,
    service: DeepSeekModelService,
    facts: ClusterFacts,
    changes: PodChanges,
    pinned: PinnedCluster,
) -> None:
    assert pinned.run is not None  # else it was refused
    assert pinned.template is not None
    pod_set = serving_pod_set(pinned.name, run=pinned.run, template=pinned.template, settings=context.build)
    await ensure_token(context.cluster, pinned.name, token=job_token(context.operator_key, pinned.name))
    incarnation, replicas = coordinator_incarnation(facts.pods, changes.create), service.spec.replicas.min
    await ensure_serving_objects(context.cluster, pod_set, incarnation=incarnation, replicas=replicas)
    await create_pods(context.cluster, pod_set, new=changes.create)


async def _put_right(
    context: Context, service: DeepSeekModelService, cluster: str, facts: ClusterFacts
) -> None:
    """What somebody may have changed or deleted of a cluster that runs."""
    if facts.run is None or facts.template is None or not facts.pods:
        return
    name = cluster_name(service, cluster, run_config_uid=facts.run_config_uid)
    pod_set = serving_pod_set(name, run=facts.run, template=facts.template, settings=context.build)
    incarnation, replicas = coordinator_incarnation(facts.pods, ()), service.spec.replicas.min
    await ensure_serving_objects(context.cluster, pod_set, incarnation=incarnation, replicas=replicas)


async def _publish(
    context: Context, service: DeepSeekModelService, status: ServiceStatus, document: Document
) -> None:
    """Events first: none is lost when the pass is repeated. Nothing is written if nothing changed."""
    if status == service.status:
        return
    metadata = service.metadata
    if status.state != service.status.state:
        _LOG.info("%s %s/%s: %s", service.kind, metadata.namespace, metadata.name, status.state)
    await tell(
        context.cluster,
        service_events(service.status, status),
        resource=document,
        now=context.clock.now(),
        reporting_instance=context.operator_name,
    )
    await context.cluster.replace_status(MODEL_SERVICE, document | {"status": status.to_document()})
