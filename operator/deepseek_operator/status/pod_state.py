"""What is the matter with a pod, whether it needs a replacement, and whether that counts as a failure.

Lost nodes, preemption, eviction and deletion happen to a run; they never count against its backoffLimit.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import ValidationError

from deepseek_operator.status.observed import PodFacts
from deepseek_workloads.contract.messages import Verdict


class Trouble(StrEnum):
    """The values are reasons of conditions."""

    NONE = "Running"
    UNSCHEDULABLE = "Unschedulable"
    STARTING = "Starting"
    IMAGE = "ImagePullFailed"
    CONFIG = "ContainerConfigInvalid"
    ENDED = "Ended"
    OOM_KILLED = "OOMKilled"
    CRASHED = "Crashed"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    DELETED = "Deleted"


_WAITING: Final = {
    "ErrImagePull": Trouble.IMAGE,
    "ImagePullBackOff": Trouble.IMAGE,
    "InvalidImageName": Trouble.IMAGE,
    "ErrImageNeverPull": Trouble.IMAGE,
    "ImageInspectError": Trouble.IMAGE,
    "RegistryUnavailable": Trouble.IMAGE,
    "SignatureValidationFailed": Trouble.IMAGE,
    "CreateContainerConfigError": Trouble.CONFIG,
    "CreateContainerError": Trouble.CONFIG,
    "RunContainerError": Trouble.CONFIG,
}
_DISRUPTIONS: Final = {
    "PreemptionByScheduler": Trouble.PREEMPTED,
    "DeletionByTaintManager": Trouble.NODE_LOST,
    "DeletionByPodGC": Trouble.NODE_LOST,
    "EvictionByEvictionAPI": Trouble.EVICTED,
    "TerminationByKubelet": Trouble.EVICTED,
}
_POD_REASONS: Final = {
    "NodeLost": Trouble.NODE_LOST,
    "NodeShutdown": Trouble.NODE_LOST,
    "Shutdown": Trouble.NODE_LOST,
    "Terminated": Trouble.NODE_LOST,
    "Evicted": Trouble.EVICTED,
    "Preempting": Trouble.PREEMPTED,
    # The kubelet refused the pod after the scheduler had placed it: another try elsewhere may do.
    "UnexpectedAdmissionError": Trouble.EVICTED,
    "NodeAffinity": Trouble.EVICTED,
    "OutOfcpu": Trouble.EVICTED,
    "OutOfmemory": Trouble.EVICTED,
    "OutOfpods": Trouble.EVICTED,
}
_LOST: Final = frozenset({Trouble.NODE_LOST, Trouble.EVICTED, Trouble.PREEMPTED, Trouble.DELETED})
_BROKEN: Final = frozenset({Trouble.OOM_KILLED, Trouble.CRASHED})
_OVER: Final = _LOST | _BROKEN | {Trouble.ENDED}


@dataclass(frozen=True)
class PodState:
    trouble: Trouble
    message: str  # in words, naming the pod

    @property
    def over(self) -> bool:
        """The pod is of no more use: an unfinished run needs another in its place."""
        return self.trouble in _OVER

    @property
    def lost(self) -> bool:
        return self.trouble in _LOST

    @property
    def counts(self) -> bool:
        """Against runPolicy.backoffLimit."""
        return self.trouble in _BROKEN


def classify(pod: PodFacts) -> PodState:
    """A disruption explains an exit code, so it is looked at first."""
    disrupted = _DISRUPTIONS.get(pod.disruption) or _POD_REASONS.get(pod.reason)
    if disrupted is not None:
        return PodState(disrupted, _words(pod, _LOST_WORDS[disrupted], pod.message or pod.disruption))
    if pod.deleting:
        return PodState(Trouble.DELETED, _words(pod, "was deleted", ""))
    if pod.exit is not None:
        return _of_exit(pod, exit_code=pod.exit.exit_code, reason=pod.exit.reason)
    if pod.phase == "Failed":
        return PodState(Trouble.CRASHED, _words(pod, "failed", pod.message or pod.reason))
    if pod.phase == "Succeeded":
        return PodState(Trouble.ENDED, _words(pod, "ended", ""))
    if pod.unschedulable:
        return PodState(Trouble.UNSCHEDULABLE, _words(pod, "waits for a node", pod.unschedulable))
    if pod.phase == "Running":
        return PodState(Trouble.NONE, _words(pod, "runs", ""))
    waiting = _WAITING.get(pod.waiting_reason, Trouble.STARTING)
    return PodState(waiting, _words(pod, _WAITING_WORDS[waiting], pod.waiting_message or pod.waiting_reason))


def failures_of(pod: PodFacts) -> int:
    """Failures of the pod's place, its own included, that count against backoffLimit."""
    return pod.failures + int(classify(pod).counts)


def verdict_of(pod: PodFacts) -> Verdict | None:
    """What the coordinator decided before it ended; None: it ended without a verdict, or has not ended."""
    if pod.exit is None:
        return None
    try:
        return Verdict.model_validate_json(pod.exit.message)
    except ValidationError:
        return None


_LOST_WORDS: Final = {
    Trouble.NODE_LOST: "was lost with its node",
    Trouble.EVICTED: "was evicted",
    Trouble.PREEMPTED: "was preempted by a pod of higher priority",
}
_WAITING_WORDS: Final = {
    Trouble.STARTING: "is starting",
    Trouble.IMAGE: "cannot pull its image",
    Trouble.CONFIG: "cannot be configured",
}


def _of_exit(pod: PodFacts, *, exit_code: int, reason: str) -> PodState:
    if reason == Trouble.OOM_KILLED:
        return PodState(Trouble.OOM_KILLED, _words(pod, "used more memory than its limit and was killed", ""))
    if exit_code == 0:
        return PodState(Trouble.ENDED, _words(pod, "ended", ""))
    verdict = verdict_of(pod)
    said = verdict.message if verdict is not None else _last_line(pod)
    return PodState(Trouble.CRASHED, _words(pod, f"ended with exit code {exit_code}", said))


def _last_line(pod: PodFacts) -> str:
    lines = pod.exit.message.strip().splitlines() if pod.exit else []
    return lines[-1] if lines else ""


def _words(pod: PodFacts, what: str, why: str) -> str:
    where = f" on node {pod.node}" if pod.node else ""
    return f"pod {pod.name}{where} {what}" + (f": {why}" if why else "")
