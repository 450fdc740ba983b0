"""What a run does about its alerts, step after step."""

import math
from dataclasses import replace

import pytest
import torch

from deepseek_workloads.contract.monitoring import (
    AlertAction,
    AlertRule,
    Alerts,
    ExpertLoadRule,
    NotANumberRule,
)
from deepseek_workloads.train.trainer import StepResult
from deepseek_workloads.train.watch.guard import MOST_SKIPPED_STEPS, SHOWN_STEPS, Guard

FINE, STEEP, NO_NUMBER, OVERFLOW = 1.0, 20.0, math.nan, math.inf


def guard(action: str, **changes: int) -> Guard:
    rules = Alerts(
        gradient_norm=AlertRule.model_validate({"threshold": 10, "action": action}),
        not_a_number=NotANumberRule.model_validate({"action": action}),
        **changes,
    )
    return Guard(lambda: rules, lambda: None)


def step(watching: Guard, norm: float, *, loss: float = 2.0, load: float = 1.0) -> AlertAction:
    """As the loop does it: rank 0's rules come with the step, an overflow is not put to the guard."""
    result = StepResult(
        loss=loss,
        auxiliary={},
        gradient_norm=norm,
        votes=(),
        sample_ids=(),
        expert_load=load,
        dropped=0,
        overflow=norm == OVERFLOW,
        leading=tuple(watching.numbers()),
    )
    applied = not result.overflow and watching.accept(result, ranks_short_of_memory=0)
    return watching.action(replace(result, applied=applied))


@pytest.mark.parametrize("bad", [STEEP, NO_NUMBER])
@pytest.mark.parametrize("action", ["skip", "rollback"])
def test_a_run_that_takes_no_step_any_more_is_stopped(action: str, bad: float) -> None:
    """Also where there is no checkpoint to roll back to, so that a step is only not taken."""
    watching = guard(action)
    assert [step(watching, bad) for _ in range(MOST_SKIPPED_STEPS - 1)] == [action] * (MOST_SKIPPED_STEPS - 1)
    assert watching.reason_to_stop is None
    assert step(watching, bad) == "stop"
    assert watching.given_up == watching.reason_to_stop
    assert f"none of the last {MOST_SKIPPED_STEPS} steps" in str(watching.reason_to_stop)


def test_a_step_that_is_taken_begins_the_count_again_and_an_overflow_does_not_count() -> None:
    watching = guard("skip")
    for _ in range(3):
        assert {step(watching, STEEP) for _ in range(MOST_SKIPPED_STEPS - 1)} == {"skip"}
        assert {step(watching, OVERFLOW) for _ in range(3)} == {"ignore"}
        assert step(watching, FINE) == "ignore"


def test_an_alert_is_shown_for_a_while_also_after_a_rollback_behind_its_step() -> None:
    watching = guard("rollback", max_rollbacks=3)
    step(watching, STEEP)
    assert [(alert.kind, alert.step) for alert in watching.recent(50)] == [("GradientNorm", 50)]
    watching.rolled_back()
    for taken in range(11, 10 + SHOWN_STEPS):
        step(watching, FINE)
        assert [alert.step for alert in watching.recent(taken)] == [50]
    step(watching, FINE)
    assert watching.recent(10 + SHOWN_STEPS) == []


def test_the_rollbacks_of_an_epoch_are_bounded() -> None:
    watching = guard("rollback", max_rollbacks=2)
    for _ in range(2):
        assert step(watching, STEEP) == "rollback"
        watching.rolled_back()
    assert step(watching, STEEP) == "stop"
    assert "after 2 rollbacks" in str(watching.reason_to_stop)


def test_nothing_was_given_up_where_the_rule_itself_is_to_stop() -> None:
    watching = guard("stop")
    assert step(watching, NO_NUMBER) == "stop"
    assert watching.given_up is None
    assert "action in spec.alerts is stop" in str(watching.reason_to_stop)


def test_a_guard_that_goes_on_from_a_checkpoint_judges_as_the_one_before() -> None:
    before, fresh, after = (guard("skip") for _ in range(3))
    for _ in range(10):
        step(before, FINE)
    after.load(before.state())
    assert [step(watching, FINE, loss=5.0) for watching in (before, fresh, after)] == [
        "warn",
        "ignore",
        "warn",
    ]
    both = (watching.state()["recent_losses"] for watching in (before, after))
    torch.testing.assert_close(*both, equal_nan=True, rtol=0, atol=0)


def test_the_share_of_tokens_is_of_the_most_that_an_expert_can_take() -> None:
    """Of 8 experts, 2 a token, the busiest is at most 4 times the mean."""
    rules = Alerts(expert_load=ExpertLoadRule(threshold=10, token_share=0.75, action="skip"))
    watching = Guard(lambda: rules, lambda: None, largest_expert_load=8 / 2)
    assert step(watching, FINE, load=3.0) == "ignore"
    assert step(watching, FINE, load=3.2) == "skip"
