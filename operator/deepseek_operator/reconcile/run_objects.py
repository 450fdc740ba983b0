"""What a run's pods need before they start: the pinned run config, the token, the Service, the policies.

It creates and adopts; it does not know when pods are wanted.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from deepseek_operator.cluster.interface import AlreadyExists, Cluster, Document
from deepseek_operator.cluster.kinds import (
    CONFIG_MAP,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    Kind,
)
from deepseek_operator.resources.disruption_budget import build_disruption_budget
from deepseek_operator.resources.metadata import has_spec_of
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.network_policy import build_http_policy, build_network_policy
from deepseek_operator.resources.pod_set import PodSet
from deepseek_operator.resources.run_objects import (
    RunConfigMissing,
    build_coordinator_service,
    build_run_config_map,
    build_token_secret,
    run_config_digest,
    run_config_of,
)
from deepseek_workloads.contract.run_config import AnyRun, parse_run


class NameTaken(Exception):
    """An object that is not the resource's own has a name it needs."""


class RunConfigLost(Exception):
    """The pinned run config is gone or changed, and this operator would render another one."""


@dataclass(frozen=True)
class PinnedRun:
    run: AnyRun
    digest: str


async def pinned_run(cluster: Cluster, resource: ResourceName, *, digest: str) -> PinnedRun | None:
    """The run config that exists, or None. `digest`: what status has pinned, or empty.

    Raises NameTaken, RunConfigLost, and RunConfigMissing of `resources.run_objects`.
    """
    found = await cluster.get(CONFIG_MAP, name=resource.run_config_map, namespace=resource.namespace)
    if found is None:
        return None
    require_own(CONFIG_MAP, found, resource)
    document = run_config_of(found)
    if digest and run_config_digest(document) != digest:
        raise RunConfigLost(_lost(resource, f"has digest {run_config_digest(document)}, not {digest}"))
    try:
        return PinnedRun(parse_run(document), run_config_digest(document))
    except ValidationError as error:
        raise RunConfigLost(_lost(resource, f"cannot be read by this operator: {error}")) from error


async def pin_run(
    cluster: Cluster, resource: ResourceName, *, digest: str, render: Callable[[], AnyRun]
) -> PinnedRun:
    """Renders the run config, once for the life of the resource. Raises as `pinned_run`."""
    run = render()
    config_map = build_run_config_map(resource, run)
    rendered = run_config_digest(run_config_of(config_map))
    if digest and digest != rendered:
        raise RunConfigLost(
            _lost(resource, f"was deleted, and this operator renders {rendered}, not {digest}")
        )
    try:
        await cluster.create(CONFIG_MAP, config_map)
    except AlreadyExists:
        existing = await pinned_run(cluster, resource, digest=digest)
        if existing is not None:
            return existing
        raise
    return PinnedRun(run, rendered)


async def ensure_sized_run(cluster: Cluster, resource: ResourceName, run: AnyRun, *, nodes: int) -> None:
    """The run config of a run that was given another number of nodes, which follows from the pinned one.
    Raises NameTaken and RunConfigLost."""
    name = resource.run_config_map_of(nodes)
    try:
        await cluster.create(CONFIG_MAP, build_run_config_map(resource, run, name=name))
        return
    except AlreadyExists:
        found = await cluster.get(CONFIG_MAP, name=name, namespace=resource.namespace)
    if found is None:
        raise NameTaken(f"ConfigMap {name} existed a moment ago and is being removed: it is tried again")
    require_own(CONFIG_MAP, found, resource)
    with contextlib.suppress(ValidationError, RunConfigMissing):
        if parse_run(run_config_of(found)) == run:
            return
    raise RunConfigLost(
        f"ConfigMap {name} is not the run config of {nodes} nodes: delete it, and it is made again"
    )


async def ensure_token(cluster: Cluster, resource: ResourceName, *, token: str) -> None:
    """The Secret is never read."""
    with contextlib.suppress(AlreadyExists):  # its name has the resource's uid in it: nobody else's
        await cluster.create(SECRET, build_token_secret(resource, token=token))


async def ensure_network_objects(cluster: Cluster, pod_set: PodSet, *, incarnation: int) -> None:
    """The Service to this coordinator, and its policy: made, or put right. Raises NameTaken."""
    service = build_coordinator_service(pod_set.resource, incarnation=incarnation)
    objects = [(SERVICE, service), (NETWORK_POLICY, build_network_policy(pod_set))]
    await _ensure(cluster, pod_set.resource, objects)


async def ensure_network_policy(cluster: Cluster, pod_set: PodSet) -> None:
    """The policy alone, of a pod that nobody talks to. Raises NameTaken."""
    await _ensure(cluster, pod_set.resource, [(NETWORK_POLICY, build_network_policy(pod_set))])


async def ensure_serving_objects(
    cluster: Cluster, pod_set: PodSet, *, incarnation: int, replicas: int
) -> None:
    """The same of a cluster that serves, with what its replicas need. Raises NameTaken."""
    await ensure_network_objects(cluster, pod_set, incarnation=incarnation)
    budget = build_disruption_budget(pod_set, replicas=replicas)
    objects = [(NETWORK_POLICY, build_http_policy(pod_set)), (POD_DISRUPTION_BUDGET, budget)]
    await _ensure(cluster, pod_set.resource, objects)


async def _ensure(cluster: Cluster, resource: ResourceName, objects: Iterable[tuple[Kind, Document]]) -> None:
    for kind, document in objects:
        name = document["metadata"]["name"]
        found = await cluster.get(kind, name=name, namespace=resource.namespace)
        if found is not None:
            require_own(kind, found, resource)
        if found is None or not has_spec_of(found, document):
            await cluster.apply(kind, document)


def require_own(kind: Kind, document: Document, resource: ResourceName) -> None:
    """Raises NameTaken unless the resource, or the run config of its cluster, is the object's owner."""
    metadata = document["metadata"]
    owners = metadata.get("ownerReferences") or []
    if any(owner.get("uid") in (resource.uid, resource.run_config_uid or resource.uid) for owner in owners):
        return
    names = ((resource.kind, resource.name), (CONFIG_MAP.kind, resource.run_config_map))
    former = any((owner.get("kind"), owner.get("name")) in names for owner in owners)
    remedy = (
        "it belongs to a deleted resource of the same name and is about to go"
        if former
        else "delete or rename it, or give the resource another name"
    )
    raise NameTaken(
        f"{kind.kind} {metadata['name']} exists and is not owned by {resource.kind} {resource.name}: {remedy}"
    )


def _lost(resource: ResourceName, what: str) -> str:
    return (
        f"ConfigMap {resource.run_config_map} {what}: a run config never changes; create the resource again "
        "(under the same storage it goes on from its last checkpoint)"
    )
