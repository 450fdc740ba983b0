"""Whether a run is over, and why: its verdict, a deadline, or too many failures. The first decision stays.

A verdict is the coordinator's termination message; progress never decides.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.meta import RunStatus
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.resources.quantity import format_bytes
from deepseek_operator.status.observed import Observed, PodFacts, newest
from deepseek_operator.status.pod_state import Trouble, classify, failures_of, verdict_of
from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_WORKER
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.estimate import estimate
from deepseek_workloads.plan.replicas import replica_bytes

SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
STARTUP_DEADLINE_EXCEEDED: Final = "StartupDeadlineExceeded"
# What a worker pod of the demo holds beside the estimate: raylet and supervisor; Python and torch of a rank.
_POD_BYTES: Final = 200 * 2**20
_RANK_BYTES: Final = 600 * 2**20

RunResource = DeepSeekTrainingJob | DeepSeekDataset


@dataclass(frozen=True)
class Outcome:
    succeeded: bool
    reason: str
    message: str
    verdict: Verdict | None = None  # None: decided without one, or its pod is gone
    at: datetime | None = None  # when it came about, as far as it is known


def outcome_of(resource: RunResource, observed: Observed) -> Outcome | None:
    """None: the run is not over. A resource that was refused has no run, hence no outcome."""
    recorded = _recorded(resource.status, observed)
    if recorded is not None:
        return recorded
    decided = _by_verdict(resource, observed)
    if decided is not None or resource.spec.suspend:
        return decided
    return (
        _by_failures(resource, observed)
        or _by_startup(resource, observed)
        or _by_deadline(resource, observed)
    )


def coordinator_of(observed: Observed) -> PodFacts | None:
    """The newest coordinator pod, whatever became of it."""
    return newest(observed.pods).get((ROLE_COORDINATOR, 0))


def active_seconds(status: RunStatus, now: datetime) -> float:
    """Time that the run has taken, without its suspensions."""
    if status.start_time is None:
        return 0.0
    end = status.suspended_since or now
    return (end - status.start_time).total_seconds() - status.suspended_seconds


def _recorded(status: RunStatus, observed: Observed) -> Outcome | None:
    for condition in status.conditions:
        if condition.type in (SUCCEEDED, FAILED) and condition.status == "True":
            coordinator = coordinator_of(observed)
            return Outcome(
                succeeded=condition.type == SUCCEEDED,
                reason=condition.reason,
                message=condition.message,
                verdict=verdict_of(coordinator) if coordinator else None,
                at=status.completion_time,
            )
    return None


def _by_verdict(resource: RunResource, observed: Observed) -> Outcome | None:
    coordinator = coordinator_of(observed)
    verdict = verdict_of(coordinator) if coordinator is not None else None
    if coordinator is None or verdict is None or verdict.outcome not in (SUCCEEDED, FAILED):
        return None
    message = verdict.message or f"the run ended with {verdict.reason or verdict.outcome}"
    if verdict.reason == reasons.OUT_OF_MEMORY:
        message = f"{message}; {memory_words(resource, observed, role=ROLE_WORKER)}"
    return Outcome(
        succeeded=verdict.outcome == SUCCEEDED,
        reason=verdict.reason or verdict.outcome,
        message=message,
        verdict=verdict,
        at=coordinator.exit.finished_at if coordinator.exit else None,
    )


def _by_failures(resource: RunResource, observed: Observed) -> Outcome | None:
    """Pods that broke; failures of processes within a pod are the coordinator's to count."""
    pods = newest(observed.current_pods).values()
    limit = resource.spec.run_policy.backoff_limit
    broken = [pod for pod in pods if classify(pod).counts]
    if not broken or sum(map(failures_of, pods)) <= limit:
        return None
    killed = [pod for pod in broken if classify(pod).trouble is Trouble.OOM_KILLED]
    pod = (killed or broken)[0]
    message = f"{classify(pod).message}; {limit} retries (runPolicy.backoffLimit) are used up"
    reason = reasons.BACKOFF_LIMIT_EXCEEDED
    if killed:
        reason, message = (
            reasons.OUT_OF_MEMORY,
            f"{message}; {memory_words(resource, observed, role=pod.role)}",
        )
    return Outcome(succeeded=False, reason=reason, message=message)


def memory_words(resource: RunResource, observed: Observed, *, role: str) -> str:
    """The limit beside the estimate, and what to do, when a pod of this role used too much memory."""
    if role == ROLE_COORDINATOR:
        limit = resource.spec.coordinator.resources.memory
        return f"its limit is {limit}: raise spec.coordinator.resources.memory"
    words = f"its limit is {resource.spec.workers.resources.memory}"
    if not isinstance(observed.run, TrainingRun):
        return f"{words}: raise spec.workers.resources.memory"
    processes = observed.run.workers.num_proc_per_node
    model = estimate(observed.run).memory.total * processes + replica_bytes(observed.run)
    programs = _POD_BYTES + _RANK_BYTES * processes
    return (
        f"{words}, the estimate of the model and its activations {format_bytes(model)}, and Python, torch "
        f"and Ray need about {format_bytes(programs)}: raise spec.workers.resources.memory to at least "
        f"{format_bytes(model + programs)}, or lower microBatchSize"
    )


def _by_startup(resource: RunResource, observed: Observed) -> Outcome | None:
    """Only pods that have a node: who waits for one waits as long as it takes."""
    limit = resource.spec.run_policy.startup_deadline_seconds
    for pod in newest(observed.current_pods).values():
        state = classify(pod)
        late = pod.scheduled_at and observed.now - pod.scheduled_at > timedelta(seconds=limit)
        if late and state.trouble in (Trouble.STARTING, Trouble.IMAGE, Trouble.CONFIG):
            starting = state.trouble is Trouble.STARTING
            return Outcome(
                succeeded=False,
                reason=STARTUP_DEADLINE_EXCEEDED if starting else state.trouble,
                message=f"{state.message}; {limit} s (runPolicy.startupDeadlineSeconds) have passed, "
                "its node is freed: mend the cause and create the resource again",
            )
    return None


def _by_deadline(resource: RunResource, observed: Observed) -> Outcome | None:
    limit = resource.spec.run_policy.active_deadline_seconds
    if limit is None or active_seconds(resource.status, observed.now) <= limit:
        return None
    return Outcome(
        succeeded=False,
        reason=DEADLINE_EXCEEDED,
        message=f"the run took longer than {limit} s (runPolicy.activeDeadlineSeconds); a new resource "
        "with the same storage goes on from the last checkpoint",
    )
