"""When a step is out of the ordinary, and which action wins."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.monitoring import (
    AlertAction,
    AlertRule,
    Alerts,
    ExpertLoadRule,
    NotANumberRule,
)
from deepseek_workloads.train.watch.alerts import (
    MIN_HISTORY_STEPS,
    SEVERITY,
    Alert,
    AlertWatch,
    Measured,
    from_numbers,
    to_numbers,
    worst,
)

FINE = Measured(loss=2.0, gradient_norm=1.0, expert_load=1.2)
ACTIONS = st.sampled_from(SEVERITY)
RULES = st.builds(AlertRule, threshold=st.floats(1e-3, 1e6), action=ACTIONS)


def watch(*losses: float) -> AlertWatch:
    made = AlertWatch()
    for loss in losses:
        made.remember(loss)
    return made


def kinds(step: Measured, rules: Alerts | None = None, *, history: tuple[float, ...] = ()) -> list[str]:
    return [alert.kind for alert in watch(*history).judge(step, rules or Alerts())]


def test_an_ordinary_step_is_no_alert() -> None:
    assert kinds(FINE, history=(2.0,) * MIN_HISTORY_STEPS) == []


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Measured(2.0, 10.1, 1.0), "GradientNorm"),
        (Measured(2.0, 1.0, 1.0, activation_ranges=[15.1]), "ActivationRange"),
        (Measured(2.0, 1.0, 10.1), "ExpertCollapse"),
        (Measured(2.0, 1.0, 1.0, ranks_short_of_memory=1), "Memory"),
        (Measured(math.nan, 1.0, 1.0), "NotANumber"),
        (Measured(2.0, math.inf, 1.0), "NotANumber"),
    ],
)
def test_each_figure_has_its_limit(step: Measured, kind: str) -> None:
    assert kinds(step) == [kind]


def test_at_the_limit_it_is_still_well() -> None:
    assert kinds(Measured(2.0, 10.0, 10.0, activation_ranges=[15.0])) == []


def test_an_expert_that_takes_most_tokens_is_a_collapse_in_a_model_of_few_experts() -> None:
    """Four experts, one a token: 3.6 times the mean load is nearly all there can be."""
    rules = Alerts(expert_load=ExpertLoadRule(threshold=10, token_share=0.75))
    collapsed = Measured(2.0, 1.0, expert_load=3.6, token_share=0.9)
    assert [alert.message for alert in watch().judge(collapsed, rules)] == [
        "share of its layer's tokens that an expert takes 0.9: above 0.75"
    ]
    assert kinds(Measured(2.0, 1.0, expert_load=3.0, token_share=0.75), rules) == []


def test_rules_of_before_know_no_share_of_tokens() -> None:
    rules = Alerts.model_validate_json('{"expertLoad": {"threshold": 10, "action": "stop"}}')
    assert kinds(Measured(2.0, 1.0, expert_load=3.9, token_share=0.98), rules) == []


@pytest.mark.parametrize(("share", "found"), [(0.25, []), (0.5, ["ExpertCollapse"]), (None, [])])
def test_experts_that_get_no_tokens_are_a_collapse_though_the_others_share_alike(
    share: float | None, found: list[str]
) -> None:
    """Half of the experts, each with twice the mean: no other figure shows it."""
    assert kinds(Measured(2.0, 1.0, expert_load=2.0, token_share=0.25, idle_share=share)) == found


@pytest.mark.parametrize("action", ["skip", "rollback"])
def test_idle_experts_cost_no_steps_for_each_would_leave_them_as_they_are(action: AlertAction) -> None:
    rule = ExpertLoadRule(threshold=10, action=action, token_share=0.75, idle_share=0.25)
    rules = Alerts(expert_load=rule)
    idle = Measured(2.0, 1.0, expert_load=2.0, idle_share=0.5)
    busy = Measured(2.0, 1.0, expert_load=2.0, token_share=0.9, idle_share=0.5)
    assert [alert.action for alert in watch().judge(idle, rules)] == ["warn"]
    assert [alert.action for alert in watch().judge(busy, rules)] == [action]


def test_rules_of_before_know_no_share_of_idle_experts() -> None:
    rules = Alerts.model_validate_json('{"expertLoad": {"threshold": 10, "tokenShare": 0.75}}')
    assert kinds(Measured(2.0, 1.0, expert_load=2.0, idle_share=0.9), rules) == []


def test_a_loss_spikes_over_the_median_and_only_with_enough_to_compare() -> None:
    spike = Measured(4.1, 1.0, 1.0)
    assert kinds(spike, history=(2.0,) * MIN_HISTORY_STEPS) == ["LossSpike"]
    assert kinds(spike, history=(2.0,) * (MIN_HISTORY_STEPS - 1)) == []


def test_what_is_ignored_is_not_told() -> None:
    assert (
        kinds(Measured(2.0, 99.0, 1.0), Alerts(gradient_norm=AlertRule(threshold=10, action="ignore"))) == []
    )


def test_the_message_has_the_figure_and_its_limit() -> None:
    (alert,) = AlertWatch().judge(Measured(2.0, 12.5, 1.0), Alerts())
    assert alert.message == "gradient norm 12.5: above 10"


LIMIT = ExpertLoadRule(threshold=10, token_share=0.75, idle_share=0.25)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            Measured(2.0, 1.0, 1.0, activation_ranges=[9.0, 40.0, 3.0]),
            "activation range 40 (layer 1): above 15",
        ),
        (
            Measured(2.0, 1.0, 1.0, activation_ranges=[9.0, 16.0, 40.0]),
            "activation range 40 (layer 2; from layer 1 on): above 15",
        ),
        (
            Measured(2.0, 1.0, 12.0, busiest=(3, 17)),
            "load of an expert, over the mean 12 (layer 3, expert 17): above 10",
        ),
        (
            Measured(2.0, 1.0, 3.6, token_share=0.9, busiest=(3, 17)),
            "share of its layer's tokens that an expert takes 0.9 (layer 3, expert 17): above 0.75",
        ),
        (
            Measured(2.0, 1.0, 1.0, idle_share=0.5, busiest=(3, 17), idle_layer=2),
            "share of a layer's experts with next to no tokens in 32 steps 0.5 (layer 2): above 0.25",
        ),
        (
            Measured(math.nan, math.nan, 1.0, auxiliary={"balanceLoss": 0.1, "mtpLoss": math.nan}),
            "loss nan, gradient norm nan, mtpLoss nan: must be finite",
        ),
        (
            Measured(math.nan, math.nan, 1.0, activation_ranges=[3.0, math.inf, math.nan]),
            "loss nan, gradient norm nan: must be finite; the first layer whose output is not: 1",
        ),
    ],
)
def test_the_message_says_where(step: Measured, message: str) -> None:
    assert [alert.message for alert in watch().judge(step, Alerts(expert_load=LIMIT))] == [message]


def test_the_severest_action_wins() -> None:
    actions: list[AlertAction] = ["warn", "rollback", "skip"]
    alerts = [Alert("GradientNorm", action, "") for action in actions]
    assert worst(alerts) == "rollback"
    assert worst([]) == "ignore"


@given(
    st.builds(
        Alerts,
        gradient_norm=RULES,
        activation_range=RULES,
        memory=RULES,
        loss_spike=RULES,
        expert_load=st.builds(
            ExpertLoadRule,
            threshold=st.floats(1e-3, 1e6),
            token_share=st.none() | st.floats(1e-3, 1),
            idle_share=st.none() | st.floats(0, 1),
            action=ACTIONS,
        ),
        not_a_number=st.builds(NotANumberRule, action=st.sampled_from(["skip", "rollback", "stop"])),
        rollback_checkpoints=st.integers(1, 100),
        max_rollbacks=st.integers(0, 100),
    )
)
def test_rules_arrive_at_other_ranks_as_they_are(rules: Alerts) -> None:
    assert from_numbers(to_numbers(rules)) == rules
