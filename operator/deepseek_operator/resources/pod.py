"""What the coordinator pod and the worker pods have in common. Every pod passes Pod Security `restricted`."""

from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.api.pods import CpuResources, Placement, Resources
from deepseek_operator.resources.claims import claim_mounts, claim_volumes, ownership_policy
from deepseek_operator.resources.metadata import Document, owned_metadata
from deepseek_operator.resources.names import ANNOTATION_FAILURES, ANNOTATION_NODES, pod_labels
from deepseek_operator.resources.pod_set import PodSet
from deepseek_operator.resources.quantity import parse_bytes
from deepseek_operator.resources.run_objects import RUN_CONFIG_KEY
from deepseek_workloads.contract import environment as env
from deepseek_workloads.contract.storage_schemes import credential_variables

USER_ID: Final = 1000
COMMAND: Final = ["python", "-m", "deepseek_workloads.supervise"]
# Ray's object store and NCCL's buffers live in shared memory, which counts towards the pod's memory limit.
_SHARED_MEMORY_SHARE: Final = 0.3
_SHARED_MEMORY_MIN: Final = 128 * 2**20
_LOST_NODE_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True)
class Member:
    """Which pod of the set."""

    role: str
    index: int
    incarnation: int
    name: str
    failures: int = 0  # of earlier pods of this role and index, those that count


def build_pod(
    pod_set: PodSet,
    *,
    member: Member,
    placement: Placement,
    resources: CpuResources,
    container: Document,
    spec: Document | None = None,
) -> Document:
    """`container` and `spec` add what only this role has."""
    labels = pod_labels(
        pod_set.resource, role=member.role, index=member.index, incarnation=member.incarnation
    )
    metadata = owned_metadata(pod_set.resource, name=member.name, labels=labels)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"annotations": _annotations(pod_set, member)},
        "spec": {
            "restartPolicy": "Never",  # a replacement is another pod, of the next incarnation
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": pod_set.run_policy.termination_grace_period_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                **ownership_policy(pod_set.claims),
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **_placement(placement),
            "tolerations": _tolerations(placement, seconds=pod_set.settings.node_lost_seconds),
            **_pull_secrets(pod_set),
            "containers": [_container(pod_set, member=member, resources=resources) | container],
            "volumes": _volumes(pod_set, member, resources),
            **(spec or {}),
        },
    }


def _annotations(pod_set: PodSet, member: Member) -> Document:
    nodes = {} if pod_set.nodes is None else {ANNOTATION_NODES: str(pod_set.nodes)}
    return {ANNOTATION_FAILURES: str(member.failures)} | nodes


def _container(pod_set: PodSet, *, member: Member, resources: CpuResources) -> Document:
    return {
        "name": member.role,
        "image": pod_set.image,
        "imagePullPolicy": pod_set.image_pull_policy,
        "command": COMMAND,
        "env": _environment(pod_set, member),
        "resources": _resources(
            resources, gpu_resource=pod_set.settings.gpu_resource, disk_bytes=_cache_room(pod_set, member)
        ),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": env.TERMINATION_MESSAGE_PATH,
        # A process that dies without a verdict leaves its last lines as the message.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "run-config", "mountPath": env.RUN_CONFIG_FILE.rsplit("/", 1)[0], "readOnly": True},
            {"name": "scratch", "mountPath": env.SCRATCH_DIR},
            {"name": "shared-memory", "mountPath": env.SHARED_MEMORY_DIR},
            *_api_keys(pod_set, member, {"mountPath": env.API_KEYS_DIR, "readOnly": True}),
            *_memory_replicas(pod_set, member, {"mountPath": env.MEMORY_REPLICAS_MOUNT}),
            *_block_cache(pod_set, member, {"mountPath": env.BLOCK_CACHE_DIR}),
            *claim_mounts(pod_set.claims),
        ],
    }


def _environment(pod_set: PodSet, member: Member) -> list[Document]:
    resource = pod_set.resource
    values = {
        env.RUN_CONFIG_PATH: env.RUN_CONFIG_FILE,
        env.ROLE: member.role,
        env.WORKER_INDEX: str(member.index),
        env.INCARNATION: str(member.incarnation),
        env.COORDINATOR_HOST: f"{resource.coordinator_service}.{resource.namespace}.svc",
        env.TERMINATION_GRACE_SECONDS: str(pod_set.run_policy.termination_grace_period_seconds),
        "HOME": env.SCRATCH_DIR,
    }
    if _keeps_replicas(pod_set, member):
        values[env.MEMORY_REPLICAS_DIR] = env.MEMORY_REPLICAS_MOUNT
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        _from_field(env.POD_NAME, "metadata.name"),
        _from_field(env.POD_IP, "status.podIP"),
        *(
            _from_secret(name, resource.token_secret, env.JOB_TOKEN_SECRET_KEY)
            for name in (env.JOB_TOKEN, env.RAY_AUTH_TOKEN)
        ),
        *_credentials(pod_set),
        *_service_keys(pod_set, member),
    ]


def _service_keys(pod_set: PodSet, member: Member) -> list[Document]:
    """Of workers: the first of them tells the trackers, and each may ask a served model."""
    if member.role != env.ROLE_WORKER:
        return []
    return [
        _from_secret(key.name, key.secret, key.name, optional=key.optional) for key in pod_set.service_keys
    ]


def _credentials(pod_set: PodSet) -> list[Document]:
    """One Secret for all storages of the run, of any kind. A pod waits for the keys of the run's own kind
    only: others may be public or know the pod by its service account; preflight names what is missing."""
    secret = pod_set.credentials_secret
    if secret is None:
        return []
    return [
        _from_secret(name, secret, name, optional=not (required and scheme == pod_set.storage_schemes[0]))
        for scheme in pod_set.storage_schemes
        for name, required in credential_variables(scheme).items()
    ]


def _from_field(name: str, path: str) -> Document:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _from_secret(name: str, secret: str, key: str, *, optional: bool = False) -> Document:
    reference: dict[str, Any] = {"name": secret, "key": key}
    return {
        "name": name,
        "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})},
    }


def _resources(resources: CpuResources, *, gpu_resource: str, disk_bytes: int) -> Document:
    """No CPU limit: idle cores of a node are free to use. Memory is limited to what was asked for. Disk is
    asked for where much of it is used: a node without it would evict the pod, and each that replaces it."""
    gpus = resources.gpu if isinstance(resources, Resources) else 0
    accelerators = {gpu_resource: str(gpus)} if gpus else {}
    disk = {"ephemeral-storage": str(disk_bytes)} if disk_bytes else {}
    return {
        "requests": {"cpu": resources.cpu, "memory": resources.memory} | disk | accelerators,
        "limits": {"memory": resources.memory} | accelerators,
    }


def _volumes(pod_set: PodSet, member: Member, resources: CpuResources) -> list[Document]:
    return [
        {
            "name": "run-config",
            "configMap": {
                "name": pod_set.run_config_map,
                "items": [{"key": RUN_CONFIG_KEY, "path": RUN_CONFIG_KEY}],
            },
        },
        {"name": "scratch", "emptyDir": {}},
        {
            "name": "shared-memory",
            "emptyDir": {"medium": "Memory", "sizeLimit": str(shared_memory_bytes(resources.memory))},
        },
        *_api_keys(pod_set, member, {"secret": {"secretName": pod_set.api_keys_secret, "optional": False}}),
        *_memory_replicas(
            pod_set, member, {"emptyDir": {"medium": "Memory", "sizeLimit": str(pod_set.replica_bytes)}}
        ),
        *_block_cache(pod_set, member, {"emptyDir": {"sizeLimit": str(_cache_room(pod_set, member))}}),
        *claim_volumes(pod_set.claims),
    ]


def _api_keys(pod_set: PodSet, member: Member, values: Document) -> list[Document]:
    """A volume, or its mount: only replicas see the keys, and follow changes of the Secret."""
    if pod_set.api_keys_secret is None or member.role != env.ROLE_WORKER:
        return []
    return [{"name": "api-keys"} | values]


def _memory_replicas(pod_set: PodSet, member: Member, values: Document) -> list[Document]:
    """A volume, or its mount. It lives as long as the pod, not as its processes, and counts towards the
    memory limit as far as it is filled."""
    if not _keeps_replicas(pod_set, member):
        return []
    return [{"name": "memory-replicas"} | values]


def _block_cache(pod_set: PodSet, member: Member, values: Document) -> list[Document]:
    """A volume, or its mount, apart from the scratch volume, whose size nobody limits."""
    return [{"name": "block-cache"} | values] if _cache_room(pod_set, member) else []


def _cache_room(pod_set: PodSet, member: Member) -> int:
    """Bytes of disk: what is kept, and room for the blocks that several processes write at once."""
    if not pod_set.cache_bytes or member.role == env.ROLE_COORDINATOR:
        return 0
    return pod_set.cache_bytes + max(2**30, pod_set.cache_bytes // 10)


def _keeps_replicas(pod_set: PodSet, member: Member) -> bool:
    return pod_set.replica_bytes > 0 and member.role == env.ROLE_WORKER


def shared_memory_bytes(memory: str) -> int:
    """The size of /dev/shm in a pod with this memory limit, in whole MiB."""
    share = max(_SHARED_MEMORY_MIN, int(parse_bytes(memory) * _SHARED_MEMORY_SHARE))
    return share // 2**20 * 2**20


def _placement(placement: Placement) -> Document:
    """Only what was given: the rest is the cluster's default."""
    given = placement.model_dump(
        by_alias=True,
        exclude_defaults=True,
        include={"node_selector", "affinity", "priority_class_name", "scheduler_name"},
    )
    return {name: value for name, value in given.items() if value}


def _tolerations(placement: Placement, *, seconds: int) -> list[Document]:
    """Those given, and a short patience with lost nodes: Kubernetes' own default waits five minutes."""
    given = [each.model_dump(by_alias=True, exclude_defaults=True) for each in placement.tolerations]
    named = {each.key for each in placement.tolerations}
    return given + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key in _LOST_NODE_TAINTS
        if key not in named
    ]


def _pull_secrets(pod_set: PodSet) -> Document:
    secrets = [{"name": name} for name in pod_set.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}
