"""What one pass of reconcile has seen of a service: facts only, filled by `reconcile`, read by the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from deepseek_operator.resources.serving import PodTemplate, ServingTarget
from deepseek_operator.status.observed import PodFacts, newest
from deepseek_operator.status.pod_state import classify
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_WORKER
from deepseek_workloads.contract.messages import Progress
from deepseek_workloads.contract.run_config import ServingRun
from deepseek_workloads.plan.problem import Problem


@dataclass(frozen=True)
class ClusterFacts:
    """One Ray cluster of the service."""

    pods: tuple[PodFacts, ...] = ()  # of every incarnation that still exists
    progress: Progress | None = None  # the newest answer of its coordinator
    run: ServingRun | None = None  # pinned in its ConfigMap, as is the rest; None: there is no ConfigMap
    template: PodTemplate | None = None
    template_hash: str = ""
    run_config_uid: str = ""
    refused: str = ""  # the API server refused an object of it, or a name is taken, in words

    @property
    def coordinator(self) -> PodFacts | None:
        """The newest, whatever became of it."""
        return newest(self.pods).get((ROLE_COORDINATOR, 0))

    @property
    def gone(self) -> bool:
        return not self.pods and not self.run_config_uid

    def ready_replicas(self, desired: int) -> tuple[PodFacts, ...]:
        """Worker pods that answer, of those that should."""
        return tuple(
            pod
            for (role, index), pod in sorted(newest(self.pods).items())
            if role == ROLE_WORKER and index < desired and pod.ready and not classify(pod).over
        )


NO_CLUSTER = ClusterFacts()


@dataclass(frozen=True)
class ServiceObserved:
    """Everything but the resource itself and its earlier status."""

    now: datetime
    operator_since: datetime  # when this operator began to lead
    target: ServingTarget | None = None  # None: no revision, for the reason in `missing`
    target_cluster: str = ""  # the id that a cluster for the target would have
    missing: str = ""  # in words
    problems: tuple[Problem, ...] = ()  # the spec is impossible
    conflict: str = ""  # the stable Service's name is taken, in words
    selected: str = (
        ""  # the cluster that the stable Service selects; empty: there is no Service, or none of ours
    )
    service_intact: bool = False  # the rest of the stable Service is as it should be
    endpoints: frozenset[str] = frozenset()  # uids of pods that are ready endpoints of the stable Service
    clusters: Mapping[str, ClusterFacts] = field(default_factory=dict)  # by id: all that are known

    def cluster(self, id_: str) -> ClusterFacts:
        return self.clusters.get(id_, NO_CLUSTER)
