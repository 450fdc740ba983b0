"""What is done after a step: a pure function of what all ranks agree on."""

from dataclasses import dataclass
from typing import Literal

End = Literal["completed", "stopped", "preempted"]
CheckpointReason = Literal["schedule", "preemption", "control", "final", "rollback"]


@dataclass(frozen=True)
class Votes:
    """Whether any rank saw it before the step ended."""

    stop: bool = False  # the desired state is Stopped
    draining: bool = False  # a pod of the group must end soon
    checkpoint: bool = False  # someone asked for a checkpoint now


@dataclass(frozen=True)
class Decision:
    checkpoint: CheckpointReason | None
    evaluate: bool
    end: End | None


def decide(
    *, step: int, total_steps: int, votes: Votes, checkpoint_every: int, evaluate_every: int | None
) -> Decision:
    """After step `step`. A run that must end leaves a checkpoint and loses no time with anything else."""
    if step >= total_steps:  # the evaluation at the end is part of the ending
        return Decision("final", evaluate=False, end="completed")
    if votes.draining:
        return Decision("preemption", evaluate=False, end="preempted")
    if votes.stop:
        return Decision("control", evaluate=False, end="stopped")
    evaluate = evaluate_every is not None and step % evaluate_every == 0
    if votes.checkpoint:
        return Decision("control", evaluate, end=None)
    return Decision("schedule" if step % checkpoint_every == 0 else None, evaluate, end=None)
