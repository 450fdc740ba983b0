"""What is done after a step, as a table."""

import pytest

from deepseek_workloads.train.decisions import Decision, Votes, decide

NONE = Votes()
STOP, DRAIN, ASKED = Votes(stop=True), Votes(draining=True), Votes(checkpoint=True)


@pytest.mark.parametrize(
    ("case", "step", "votes", "expected"),
    [
        ("nothing is due", 7, NONE, Decision(None, evaluate=False, end=None)),
        ("the schedule asks", 10, NONE, Decision("schedule", evaluate=False, end=None)),
        ("an evaluation is due", 4, NONE, Decision(None, evaluate=True, end=None)),
        ("both are due", 20, NONE, Decision("schedule", evaluate=True, end=None)),
        ("someone asks", 7, ASKED, Decision("control", evaluate=False, end=None)),
        ("it was to stop", 7, STOP, Decision("control", evaluate=False, end="stopped")),
        ("a pod goes away", 7, DRAIN, Decision("preemption", evaluate=False, end="preempted")),
        ("a pod goes away while it is to stop", 7, Votes(stop=True, draining=True),
         Decision("preemption", evaluate=False, end="preempted")),
        ("it ends before any evaluation", 20, STOP, Decision("control", evaluate=False, end="stopped")),
        ("the last step", 40, NONE, Decision("final", evaluate=False, end="completed")),
        ("the last step, whatever is asked", 40, STOP, Decision("final", evaluate=False, end="completed")),
    ],
)  # fmt: skip
def test_decision(case: str, step: int, votes: Votes, expected: Decision) -> None:
    decision = decide(step=step, total_steps=40, votes=votes, checkpoint_every=10, evaluate_every=4)
    assert decision == expected, case


def test_without_an_interval_only_the_end_is_evaluated() -> None:
    decision = decide(step=4, total_steps=40, votes=NONE, checkpoint_every=10, evaluate_every=None)
    assert not decision.evaluate
