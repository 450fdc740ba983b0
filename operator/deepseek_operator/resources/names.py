"""Names and labels of the objects of a resource: what must find an object again derives them here."""

import hmac
from dataclasses import dataclass
from typing import Final

from deepseek_operator.api.schema import GROUP
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_STANDBY, ROLE_WORKER

MANAGED_BY: Final = "deepseek-operator"

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_KIND: Final = f"{GROUP}/kind"
LABEL_RESOURCE: Final = f"{GROUP}/name"
LABEL_UID: Final = f"{GROUP}/uid"
LABEL_ROLE: Final = f"{GROUP}/role"
LABEL_INDEX: Final = f"{GROUP}/index"
LABEL_INCARNATION: Final = f"{GROUP}/incarnation"
LABEL_CLUSTER: Final = f"{GROUP}/cluster"  # which of a service's Ray clusters

# Failures of earlier pods of the same role and index that count against backoffLimit: a replacement carries
# their number, so that it is known from the pods alone.
ANNOTATION_FAILURES: Final = f"{GROUP}/failures"

# Worker pods of the run that a training job's pod was made for: another number needs other pods.
ANNOTATION_NODES: Final = f"{GROUP}/nodes"

ROLES: Final = (ROLE_COORDINATOR, ROLE_WORKER, ROLE_STANDBY)

_PREFIXES: Final = {
    "DeepSeekTrainingJob": "dsjob",
    "DeepSeekDataset": "dsdata",
    "DeepSeekModelService": "dsserve",
}
# Of the resource's name in names of one cluster: the cluster's id tells services apart, not the name.
_NAME_WITH_CLUSTER: Final = 24


@dataclass(frozen=True)
class ResourceName:
    """Which resource, and of a service which of its clusters: enough to name what belongs to it."""

    kind: str
    namespace: str
    name: str
    uid: str
    cluster: str = ""  # of a service: the id of one Ray cluster
    # Of a service's cluster: the uid of its run config map, which owns what pods need besides it, so that
    # one deletion removes a whole cluster, Secrets included, which the operator may not delete.
    run_config_uid: str = ""

    @property
    def prefix(self) -> str:
        if self.cluster:
            return f"{_PREFIXES[self.kind]}-{self.name[:_NAME_WITH_CLUSTER].rstrip('-')}-{self.cluster}"
        return f"{_PREFIXES[self.kind]}-{self.name}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels that its pods have and no others."""
        return {LABEL_UID: self.uid} | ({LABEL_CLUSTER: self.cluster} if self.cluster else {})

    @property
    def run_config_map(self) -> str:
        return f"{self.prefix}-run"

    def run_config_map_of(self, nodes: int) -> str:
        """Of a run that has another number of nodes than the one it began with."""
        return f"{self.run_config_map}-{nodes}"

    @property
    def token_secret(self) -> str:
        """With a uid: a Secret of an earlier resource of this name is never taken for its own, unread."""
        return f"{self.prefix}-token-{(self.run_config_uid or self.uid)[:8]}"

    @property
    def coordinator_service(self) -> str:
        return f"{self.prefix}-coordinator"

    @property
    def network_policy(self) -> str:
        return self.prefix

    def coordinator_pod(self, incarnation: int) -> str:
        return f"{self.prefix}-coordinator-{incarnation}"

    def worker_pod(self, index: int, incarnation: int) -> str:
        return f"{self.prefix}-worker-{index}-{incarnation}"

    def standby_pod(self, index: int, incarnation: int) -> str:
        return f"{self.prefix}-standby-{index}-{incarnation}"


def common_labels(resource: ResourceName) -> dict[str, str]:
    """Labels of everything that belongs to the resource."""
    return {
        LABEL_NAME: _PREFIXES[resource.kind],
        LABEL_INSTANCE: resource.name,
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_KIND: resource.kind,
        LABEL_RESOURCE: resource.name,
        **resource.selector,
    }


def pod_labels(resource: ResourceName, *, role: str, index: int, incarnation: int) -> dict[str, str]:
    return common_labels(resource) | {
        LABEL_COMPONENT: role,
        LABEL_ROLE: role,
        LABEL_INDEX: str(index),
        LABEL_INCARNATION: str(incarnation),
    }


def job_token(operator_key: bytes, resource: ResourceName) -> str:
    """The resource's own token: the operator derives it again instead of reading the Secret that holds it.

    Each cluster of a service has its own.
    """
    holder = f"{resource.kind}/{resource.uid}" + (f"/{resource.cluster}" if resource.cluster else "")
    return hmac.new(operator_key, holder.encode(), "sha256").hexdigest()
