"""What one pass of reconcile has seen of a resource: facts only, filled by `reconcile`, read by the rest."""

from dataclasses import dataclass
from datetime import datetime

from deepseek_workloads.contract.environment import ROLE_STANDBY
from deepseek_workloads.contract.messages import Progress
from deepseek_workloads.contract.run_config import AnyRun
from deepseek_workloads.plan.problem import Problem


@dataclass(frozen=True)
class ContainerExit:
    exit_code: int
    reason: str = ""  # the kubelet's, for instance OOMKilled
    message: str = ""  # the termination message
    finished_at: datetime | None = None


@dataclass(frozen=True)
class PodFacts:
    """One pod of the set, as the API server shows it (`pods.pod_facts`)."""

    name: str
    uid: str
    role: str
    index: int
    incarnation: int
    created_at: datetime
    owner_uid: str = ""
    cluster: str = ""  # of a service's pod: which of its Ray clusters
    failures: int = 0  # of earlier pods of this role and index, those that count
    nodes: int = 0  # worker pods of the run that it was made for; 0: as many as in the pinned run config
    phase: str = "Pending"
    ready: bool = False
    deleting: bool = False
    grace_ends_at: datetime | None = None  # of a pod that is being deleted: then it is killed
    ip: str = ""
    node: str = ""
    scheduled_at: datetime | None = None
    unschedulable: str = ""  # the scheduler's message
    unschedulable_since: datetime | None = None
    waiting_reason: str = ""  # why the container has not started, for instance ImagePullBackOff
    waiting_message: str = ""
    exit: ContainerExit | None = None
    disruption: str = ""  # reason of DisruptionTarget, for instance PreemptionByScheduler
    reason: str = ""  # of the pod's status, for instance Evicted
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed") or self.exit is not None


@dataclass(frozen=True)
class Size:
    """How many nodes a training job is to have (`size.size_of`)."""

    nodes: int  # worker pods that the run is to have
    pinned: int  # of the pinned run config
    problems: tuple[Problem, ...] = ()  # why they are not as many as the spec asks for
    reduced: bool = False  # nodes were missing, so that they are fewer than the spec asks for
    standbys: int = 0  # pods that wait for the nodes that are missing

    @property
    def other_than_pinned(self) -> int | None:
        """The number of nodes, where the pinned run config has another."""
        return None if self.nodes == self.pinned else self.nodes

    def fits(self, pod: PodFacts) -> bool:
        """Whether the pod was made for a run of this size."""
        return (pod.nodes or self.pinned) == self.nodes


@dataclass(frozen=True)
class Observed:
    """Everything but the resource itself and its earlier status."""

    now: datetime
    pods: tuple[PodFacts, ...] = ()  # of every incarnation that still exists
    run: AnyRun | None = None  # the pinned run config, of the job's size; None: not rendered yet
    size: Size | None = None  # of a training job that has a run config and is not over
    run_config_digest: str = ""
    problems: tuple[Problem, ...] = ()  # why no run config can be rendered
    waiting: tuple[str, ...] = ()  # what the run config waits for, in words
    conflict: str = ""  # an object that is not the resource's own has a name it needs, in words
    refused: str = ""  # the API server refused an object (quota, admission), in words
    standbys_refused: str = ""  # it refused a pod that only waits for a node: the run goes on, in words
    progress: Progress | None = None  # the newest answer of the current coordinator
    control_refused: str = ""  # the coordinator refused what the operator asked of it, in words
    revision: str = ""  # the recorded DeepSeekModelRevision
    revision_refused: str = ""  # why a success could not be recorded as one, in words

    def outdated(self, pod: PodFacts) -> bool:
        """The pod was made for a run of another size: it can be no member of this one."""
        return self.size is not None and not self.size.fits(pod)

    @property
    def members(self) -> tuple[PodFacts, ...]:
        """Coordinators and workers, of every size."""
        return tuple(pod for pod in self.pods if pod.role != ROLE_STANDBY)

    @property
    def current_pods(self) -> tuple[PodFacts, ...]:
        """Those of the run as it is to be."""
        return tuple(pod for pod in self.members if not self.outdated(pod))

    @property
    def standbys(self) -> tuple[PodFacts, ...]:
        """Those that wait for nodes beside the run as it is to be."""
        return tuple(pod for pod in self.pods if pod.role == ROLE_STANDBY and not self.outdated(pod))


def newest(pods: tuple[PodFacts, ...]) -> dict[tuple[str, int], PodFacts]:
    """The pod of the highest incarnation of each (role, index)."""
    chosen: dict[tuple[str, int], PodFacts] = {}
    for pod in pods:
        key = (pod.role, pod.index)
        if key not in chosen or chosen[key].incarnation < pod.incarnation:
            chosen[key] = pod
    return chosen
