"""One pass's facts in the shape that conditions ask for."""

from dataclasses import dataclass
from functools import cached_property

from deepseek_operator.api.meta import Condition
from deepseek_operator.status.observed import Observed, PodFacts, newest
from deepseek_operator.status.outcome import Outcome, RunResource, coordinator_of, outcome_of
from deepseek_operator.status.pod_state import PodState, classify
from deepseek_operator.status.size import RESIZED, RESIZING
from deepseek_workloads.contract.environment import ROLE_WORKER
from deepseek_workloads.contract.messages import Phase

# Phases in which the processes of the run themselves are at work.
WORKING: tuple[Phase, ...] = (
    "Training",
    "Evaluating",
    "Exporting",
    "Preparing",
    "Stopping",
    "Done",
)


@dataclass(frozen=True)
class View:
    resource: RunResource
    observed: Observed

    @cached_property
    def outcome(self) -> Outcome | None:
        return outcome_of(self.resource, self.observed)

    @cached_property
    def coordinator(self) -> PodFacts | None:
        return coordinator_of(self.observed)

    @cached_property
    def workers(self) -> list[PodFacts]:
        """The newest of each place."""
        pods = newest(self.observed.current_pods)
        return [pod for (role, _), pod in sorted(pods.items()) if role == ROLE_WORKER]

    @cached_property
    def states(self) -> list[tuple[PodFacts, PodState]]:
        """The coordinator first, then the workers."""
        pods = [self.coordinator] if self.coordinator is not None else []
        return [(pod, classify(pod)) for pod in (*pods, *self.workers)]

    def earlier(self, kind: str) -> Condition | None:
        """The condition of this type as the last pass left it."""
        return next((each for each in self.resource.status.conditions if each.type == kind), None)

    @property
    def refused(self) -> bool:
        """Validation or a name conflict stands against the resource: it has no pods."""
        return bool(self.observed.conflict or self.observed.problems)

    @property
    def desired(self) -> int:
        size = self.observed.size
        return size.nodes if size is not None else self.resource.spec.workers.num_nodes

    @property
    def resizing(self) -> bool:
        """The pods of another number of nodes end, or have ended and those that fit do not exist yet."""
        if self.observed.size is None or self.resource.spec.suspend or self.outcome is not None:
            return False
        if self.coordinator is None:
            return self.was_resizing
        return self.observed.outdated(self.coordinator)

    @property
    def was_resizing(self) -> bool:
        """As far as the last pass has said."""
        earlier = self.earlier(RESIZED)
        return earlier is not None and earlier.reason == RESIZING

    @property
    def ready(self) -> int:
        return sum(pod.ready and not state.over for pod, state in self.states if pod is not self.coordinator)

    @property
    def any_active(self) -> bool:
        """Some pod still runs, or may come to run."""
        return any(not classify(pod).over for pod in self.observed.pods)

    @property
    def phase(self) -> Phase | None:
        """What the coordinator says it is doing; None: it does not say."""
        coordinator = self.coordinator
        if self.observed.progress is None or coordinator is None or classify(coordinator).over:
            return None
        return self.observed.progress.phase
