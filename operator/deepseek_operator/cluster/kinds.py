"""The kinds of objects that the operator touches, and their paths in the API. No I/O."""

from dataclasses import dataclass
from typing import Final

GROUP: Final = "deepseek.dev"
VERSION: Final = "v1alpha1"


@dataclass(frozen=True)
class Kind:
    kind: str
    plural: str
    group: str  # "" is the core group
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The request path of the collection, of one object, or of its subresource."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


POD: Final = Kind("Pod", "pods", "")
SERVICE: Final = Kind("Service", "services", "")
CONFIG_MAP: Final = Kind("ConfigMap", "configmaps", "")
SECRET: Final = Kind("Secret", "secrets", "")
NETWORK_POLICY: Final = Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io")
POD_DISRUPTION_BUDGET: Final = Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy")
ENDPOINT_SLICE: Final = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io")
EVENT: Final = Kind("Event", "events", "events.k8s.io")
LEASE: Final = Kind("Lease", "leases", "coordination.k8s.io")
TRAINING_JOB: Final = Kind("DeepSeekTrainingJob", "deepseektrainingjobs", GROUP, VERSION)
DATASET: Final = Kind("DeepSeekDataset", "deepseekdatasets", GROUP, VERSION)
MODEL_REVISION: Final = Kind("DeepSeekModelRevision", "deepseekmodelrevisions", GROUP, VERSION)
MODEL_SERVICE: Final = Kind("DeepSeekModelService", "deepseekmodelservices", GROUP, VERSION)

WATCHED: Final = (TRAINING_JOB, DATASET, MODEL_REVISION, MODEL_SERVICE)
