"""Names and labels of the objects of a resource: what must find an object again derives them here."""

from dataclasses import dataclass
from typing import Final

from deepseek_operator.api.schema import GROUP
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_WORKER

MANAGER: Final = "deepseek-operator"

APP_LABEL: Final = "app.kubernetes.io/name"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
KIND_LABEL: Final = f"{GROUP}/kind"
NAME_LABEL: Final = f"{GROUP}/name"
UID_LABEL: Final = f"{GROUP}/uid"
ROLE_LABEL: Final = f"{GROUP}/role"
INDEX_LABEL: Final = f"{GROUP}/index"
INCARNATION_LABEL: Final = f"{GROUP}/incarnation"

ROLES: Final = (ROLE_COORDINATOR, ROLE_WORKER)

_PREFIXES: Final = {"DeepSeekTrainingJob": "dsjob", "DeepSeekDataset": "dsdata"}


@dataclass(frozen=True)
class ResourceName:
    """Which resource: enough to name what belongs to it."""

    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def prefix(self) -> str:
        return f"{_PREFIXES[self.kind]}-{self.name}"

    @property
    def run_config_map(self) -> str:
        return f"{self.prefix}-run"

    @property
    def token_secret(self) -> str:
        return f"{self.prefix}-token"

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


def common_labels(resource: ResourceName) -> dict[str, str]:
    """Labels of everything that belongs to the resource."""
    return {
        APP_LABEL: _PREFIXES[resource.kind],
        INSTANCE_LABEL: resource.name,
        MANAGED_BY_LABEL: MANAGER,
        KIND_LABEL: resource.kind,
        NAME_LABEL: resource.name,
        UID_LABEL: resource.uid,
    }


def pod_labels(resource: ResourceName, *, role: str, index: int, incarnation: int) -> dict[str, str]:
    return common_labels(resource) | {
        COMPONENT_LABEL: role,
        ROLE_LABEL: role,
        INDEX_LABEL: str(index),
        INCARNATION_LABEL: str(incarnation),
    }
