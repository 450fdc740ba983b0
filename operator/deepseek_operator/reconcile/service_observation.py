"""Everything that one pass over a service needs to know, asked of the cluster. It decides nothing."""

from collections import defaultdict
from dataclasses import replace

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.cluster.interface import Document
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.pod_changes import is_active
from deepseek_operator.reconcile.pods import observe_pods
from deepseek_operator.reconcile.run_objects import NameTaken
from deepseek_operator.reconcile.served_revision import served_revision
from deepseek_operator.reconcile.serving_objects import pinned_cluster, ready_endpoints, stable_service
from deepseek_operator.resources.serving import ServingTarget, cluster_id, cluster_name
from deepseek_operator.resources.stable_service import is_intact, selected_cluster
from deepseek_operator.status.observed import PodFacts
from deepseek_operator.status.rollout import active_cluster
from deepseek_operator.status.service_observed import ClusterFacts, ServiceObserved
from deepseek_operator.validation.model_service import serving_target_of, validate_service


async def observe_service(context: Context, service: DeepSeekModelService, key: Key) -> ServiceObserved:
    now = context.clock.now().replace(microsecond=0)  # Kubernetes' times are whole seconds
    observed, found = ServiceObserved(now=now, operator_since=context.operator_since), None
    try:
        found = await stable_service(context.cluster, service)
    except NameTaken as taken:
        observed = replace(observed, conflict=str(taken))
    selected = selected_cluster(found) if found is not None else ""
    observed = replace(
        observed,
        selected=selected,
        service_intact=found is not None and is_intact(found, service),
        clusters=await _clusters(context, service, selected=selected),
    )
    observed = await _with_target(context, service, key, observed)
    return replace(observed, endpoints=await _endpoints(context, service, found))


async def _endpoints(
    context: Context, service: DeepSeekModelService, found: Document | None
) -> frozenset[str]:
    """Asked only while a cluster that served waits for its end, or may be about to."""
    rolling = service.status.candidate is not None or any(each.served for each in service.status.retired)
    return await ready_endpoints(context.cluster, service) if found is not None and rolling else frozenset()


async def _with_target(
    context: Context, service: DeepSeekModelService, key: Key, observed: ServiceObserved
) -> ServiceObserved:
    problems = validate_service(service, worker_image=context.build.worker_image)
    if problems:
        return replace(observed, problems=tuple(problems))
    served = await served_revision(context.cluster, service)
    context.dependencies.record(key, on=frozenset({served.depends_on}))
    if served.revision is None:
        return replace(observed, missing=served.missing)
    target = serving_target_of(service, served.revision, settings=context.build)
    if not isinstance(target, ServingTarget):
        return replace(observed, problems=tuple(target))
    active = active_cluster(service.status, observed.selected)
    return replace(observed, target=target, target_cluster=cluster_id(service, target, active=active))


async def _clusters(
    context: Context, service: DeepSeekModelService, *, selected: str
) -> dict[str, ClusterFacts]:
    """All that a pod, the status or the stable Service knows of."""
    pods: defaultdict[str, list[PodFacts]] = defaultdict(list)
    for pod in await observe_pods(context.cluster, cluster_name(service, "")):
        pods[pod.cluster].append(pod)
    status = service.status
    named = [each.cluster_id for each in (status.active, status.candidate, *status.retired) if each]
    ids = dict.fromkeys([*named, *([selected] if selected else []), *sorted(pods)])
    return {each: await _cluster(context, service, each, tuple(pods[each])) for each in ids}


async def _cluster(
    context: Context, service: DeepSeekModelService, id_: str, pods: tuple[PodFacts, ...]
) -> ClusterFacts:
    facts = ClusterFacts(pods=pods)
    try:
        pinned = await pinned_cluster(context.cluster, service, id_)
    except NameTaken as taken:
        return replace(facts, refused=str(taken))
    if pinned is not None:
        facts = replace(
            facts,
            run=pinned.run,
            template=pinned.template,
            template_hash=pinned.template_hash,
            run_config_uid=pinned.name.run_config_uid,
            refused=pinned.problem,
        )
    candidate, coordinator = service.status.candidate, facts.coordinator
    is_candidate = candidate is not None and candidate.cluster_id == id_
    if is_candidate and coordinator is not None and coordinator.ip and is_active(coordinator):
        facts = replace(facts, progress=await context.coordinators.progress(coordinator.ip))
    return facts
