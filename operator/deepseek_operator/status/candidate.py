"""How far a candidate is, or why it has failed. Pure.

Nothing here moves requests; a failed candidate stays failed.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from deepseek_operator.api.model_service import ServiceSpec
from deepseek_operator.api.model_service_status import CandidateRevision, Phase
from deepseek_operator.api.schema import measured
from deepseek_operator.status.observed import newest
from deepseek_operator.status.pod_state import PodState, Trouble, classify, failures_of, verdict_of
from deepseek_operator.status.service_observed import ClusterFacts
from deepseek_operator.status.text import long, short
from deepseek_workloads.contract.environment import ROLE_COORDINATOR

PROGRESS_DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"
REFUSED_BY_CLUSTER: Final = "RefusedByCluster"
_MAX_FAILURES: Final = 3  # crashes of its pods, after which a revision is taken for broken

# What stands in the way of a pod, the worst first.
OBSTACLES: Final = (Trouble.IMAGE, Trouble.CONFIG, Trouble.UNSCHEDULABLE)


def assess(
    candidate: CandidateRevision,
    facts: ClusterFacts,
    *,
    spec: ServiceSpec,
    now: datetime,
    operator_since: datetime,
) -> CandidateRevision:
    """The candidate as it is now. Its time is not counted from before `operator_since`: while no operator
    leads, nobody creates its pods."""
    if candidate.phase == "Failed":
        return candidate
    candidate = _measured(candidate, facts)
    phase, reason, message = _phase(candidate, facts, desired=spec.replicas.min)
    waits = reason in (Trouble.UNSCHEDULABLE, REFUSED_BY_CLUSTER)
    since = None if waits else candidate.progressing_since or now
    failure = _broken(facts)
    if failure is None and since is not None and phase != "Ready":
        failure = _late(max(since, operator_since), spec, now, message)
    if failure is not None:
        phase, (reason, message) = "Failed", failure
    return candidate.model_copy(
        update={
            "phase": phase,
            "reason": short(reason),
            "message": long(message),
            "phase_since": candidate.phase_since if phase == candidate.phase else now,
            "progressing_since": since,
        }
    )


def _measured(candidate: CandidateRevision, facts: ClusterFacts) -> CandidateRevision:
    """What its coordinator says of the check. One that does not answer has not taken it back."""
    serving = facts.progress.serving if facts.progress is not None else None
    if serving is None:
        return candidate
    update: dict[str, Any] = {"checked": serving.checked}
    if serving.bits_per_byte is not None:
        update["bits_per_byte"] = measured(serving.bits_per_byte)
    return candidate.model_copy(update=update)


def _phase(candidate: CandidateRevision, facts: ClusterFacts, *, desired: int) -> tuple[Phase, str, str]:
    """(phase, reason, message)."""
    if facts.refused:
        return "Pending", REFUSED_BY_CLUSTER, facts.refused
    obstacle = worst_obstacle(facts)
    if obstacle is not None:
        return "Pending", obstacle.trouble, obstacle.message
    coordinator = facts.coordinator
    if coordinator is None or classify(coordinator).over or not coordinator.ready:
        return "Starting", "Preflight", "the coordinator checks the export before replicas are started"
    ready = len(facts.ready_replicas(desired))
    if ready < desired:
        said = facts.progress.message if facts.progress is not None else ""
        return (
            "Starting",
            "Starting",
            f"{ready} of {desired} replicas are ready" + (f": {said}" if said else ""),
        )
    if not candidate.checked:
        return "Checking", "Checking", "digest, prompts, logits and bits per byte are being checked"
    return "Ready", "Ready", f"checked, {ready} of {desired} replicas are ready"


def worst_obstacle(facts: ClusterFacts) -> PodState | None:
    """What a pod waits for that must come from outside."""
    states = [classify(pod) for _, pod in sorted(newest(facts.pods).items())]
    found = [state for state in states if state.trouble in OBSTACLES]
    return min(found, key=lambda state: OBSTACLES.index(state.trouble), default=None)


def _broken(facts: ClusterFacts) -> tuple[str, str] | None:
    """(reason, message): its coordinator said that it cannot be served, or its pods crash."""
    coordinators = [pod for pod in facts.pods if pod.role == ROLE_COORDINATOR]
    for pod in sorted(coordinators, key=lambda each: -each.incarnation):
        verdict = verdict_of(pod)
        if verdict is not None and verdict.outcome == "Failed":
            return verdict.reason, verdict.message or f"its coordinator ended with {verdict.reason}"
    pods = newest(facts.pods).values()
    broken = [pod for pod in pods if classify(pod).counts]
    if broken and sum(map(failures_of, pods)) > _MAX_FAILURES:
        state = classify(broken[0])
        return state.trouble, f"{state.message}; its pods have ended so {_MAX_FAILURES + 1} times"
    return None


def _late(since: datetime, spec: ServiceSpec, now: datetime, message: str) -> tuple[str, str] | None:
    limit = spec.rollout.progress_deadline_seconds
    if now - since < timedelta(seconds=limit):
        return None
    words = f"not ready after {limit} s (rollout.progressDeadlineSeconds); last: {message}"
    return PROGRESS_DEADLINE_EXCEEDED, words
