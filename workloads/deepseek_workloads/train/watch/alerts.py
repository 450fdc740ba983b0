"""Is a step as it should be? Pure: from figures that all ranks share, and rules, to alerts with an action."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, get_args

from deepseek_workloads.contract.monitoring import (
    AlertAction,
    AlertKind,
    AlertRule,
    Alerts,
    ExpertLoadRule,
    NotANumberRule,
)
from deepseek_workloads.train.watch.idle_experts import WINDOW_STEPS

HISTORY_STEPS: Final = 32  # whose losses a spike is held against
MIN_HISTORY_STEPS: Final = 8
SEVERITY: Final[tuple[AlertAction, ...]] = get_args(AlertAction)  # the mildest first
_RULES: Final = ("gradient_norm", "activation_range", "memory", "loss_spike", "expert_load")


@dataclass(frozen=True)
class Measured:
    """Of one step, before its update. None: not measured at this step. Layers are numbered from 0, as in the
    names of weights."""

    loss: float
    gradient_norm: float
    expert_load: float  # over the mean load of a layer's experts
    token_share: float | None = None  # of the busiest expert; None: the model's experts are not known
    idle_share: float | None = None  # of a layer's experts; None: not known, or too few tokens to say
    activation_ranges: Sequence[float] = ()  # by layer; none: not looked
    ranks_short_of_memory: int = 0
    busiest: tuple[int, int] | None = None  # the layer and the expert of `expert_load`
    idle_layer: int | None = None  # of `idle_share`
    auxiliary: Mapping[str, float] = field(default_factory=dict)  # parts of what is minimised, by name


@dataclass(frozen=True)
class Alert:
    kind: AlertKind
    action: AlertAction
    message: str  # what, how much, where, the limit


class AlertWatch:
    """Keeps the losses of the steps that were taken; the same on every rank."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=HISTORY_STEPS)

    @property
    def losses(self) -> list[float]:
        """At most HISTORY_STEPS, the newest last."""
        return list(self._losses)

    def recall(self, losses: Sequence[float]) -> None:
        """In place of those that it has."""
        self._losses = deque(losses, maxlen=HISTORY_STEPS)

    def remember(self, loss: float) -> None:
        self._losses.append(loss)

    def forget(self) -> None:
        """The weights are others now."""
        self._losses.clear()

    def judge(self, step: Measured, rules: Alerts) -> list[Alert]:
        """What is not ignored, the mildest first."""
        if not (math.isfinite(step.loss) and math.isfinite(step.gradient_norm)):
            return [Alert("NotANumber", rules.not_a_number.action, _not_finite(step))]
        found = [
            _above("GradientNorm", "gradient norm", step.gradient_norm, rules.gradient_norm),
            _too_wide(step.activation_ranges, rules.activation_range),
            _collapse(step, rules.expert_load),
            self._spike(step.loss, rules.loss_spike),
            _short_of_memory(step.ranks_short_of_memory, rules.memory),
        ]
        alerts = [alert for alert in found if alert is not None and alert.action != "ignore"]
        return sorted(alerts, key=lambda alert: SEVERITY.index(alert.action))

    def _spike(self, loss: float, rule: AlertRule) -> Alert | None:
        if len(self._losses) < MIN_HISTORY_STEPS:
            return None
        usual = median(self._losses)
        words = f"loss, over the median {usual:.4g} of the last {len(self._losses)} steps,"
        return _above("LossSpike", words, loss / max(usual, 1e-12), rule)


def worst(alerts: Sequence[Alert]) -> AlertAction:
    """The action to take."""
    return max((alert.action for alert in alerts), key=SEVERITY.index, default="ignore")


def to_numbers(rules: Alerts) -> list[float]:
    """Rank 0's rules count for all ranks: they travel with the step's figures."""
    numbers = [float(rules.rollback_checkpoints), float(rules.max_rollbacks)]
    numbers.append(float(SEVERITY.index(rules.not_a_number.action)))
    for share in (rules.expert_load.token_share, rules.expert_load.idle_share):
        numbers.append(math.inf if share is None else share)  # above which nothing is
    for name in _RULES:
        rule: AlertRule = getattr(rules, name)
        numbers += [rule.threshold, float(SEVERITY.index(rule.action))]
    return numbers


def from_numbers(numbers: Sequence[float]) -> Alerts:
    """The inverse of `to_numbers`."""
    checkpoints, rollbacks, not_a_number, token_share, idle_share, *rest = numbers
    rules = {
        name: AlertRule(threshold=threshold, action=SEVERITY[round(action)])
        for name, threshold, action in zip(_RULES, rest[::2], rest[1::2], strict=True)
    }
    load = rules.pop("expert_load")
    return Alerts(
        **rules,
        expert_load=ExpertLoadRule(
            threshold=load.threshold,
            action=load.action,
            token_share=None if math.isinf(token_share) else token_share,
            idle_share=None if math.isinf(idle_share) else idle_share,
        ),
        not_a_number=NotANumberRule.model_validate({"action": SEVERITY[round(not_a_number)]}),
        rollback_checkpoints=round(checkpoints),
        max_rollbacks=round(rollbacks),
    )


def _above(
    kind: AlertKind, what: str, value: float | None, rule: AlertRule, *, where: str | None = None
) -> Alert | None:
    if value is None or value <= rule.threshold:
        return None
    place = "" if where is None else f" ({where})"
    return Alert(kind, rule.action, f"{what} {value:.4g}{place}: above {rule.threshold:g}")


def _not_finite(step: Measured) -> str:
    figures = {"loss": step.loss, "gradient norm": step.gradient_norm}
    figures |= {name: part for name, part in step.auxiliary.items() if not math.isfinite(part)}
    words = ", ".join(f"{name} {value}" for name, value in figures.items()) + ": must be finite"
    layers = (layer for layer, value in enumerate(step.activation_ranges) if not math.isfinite(value))
    first = next(layers, None)
    return words if first is None else f"{words}; the first layer whose output is not: {first}"


def _too_wide(ranges: Sequence[float], rule: AlertRule) -> Alert | None:
    """Numbers grow from layer to layer: the largest tells how far, the first above the limit from where."""
    if not ranges:
        return None
    largest = max(range(len(ranges)), key=ranges.__getitem__)
    first = next((layer for layer, value in enumerate(ranges) if value > rule.threshold), largest)
    where = f"layer {largest}" if first == largest else f"layer {largest}; from layer {first} on"
    return _above("ActivationRange", "activation range", ranges[largest], rule, where=where)


def _collapse(step: Measured, rule: ExpertLoadRule) -> Alert | None:
    """The first of what is said of a layer's experts. Idle ones are seen over many steps, which come
    back with a checkpoint: to leave out or repeat the last of them would change nothing, and in the end stop
    the run."""
    idle = f"share of a layer's experts with next to no tokens in {WINDOW_STEPS} steps"
    of_idle: AlertAction = "warn" if rule.action in ("skip", "rollback") else rule.action
    share = "share of its layer's tokens that an expert takes"
    busiest = None if step.busiest is None else "layer {}, expert {}".format(*step.busiest)
    layer = None if step.idle_layer is None else f"layer {step.idle_layer}"
    figures = (
        ("load of an expert, over the mean", step.expert_load, busiest, rule.threshold, rule.action),
        (share, step.token_share, busiest, rule.token_share, rule.action),
        (idle, step.idle_share, layer, rule.idle_share, of_idle),
    )
    for what, value, where, limit, action in figures:
        if limit is None:
            continue
        alert = _above("ExpertCollapse", what, value, AlertRule(threshold=limit, action=action), where=where)
        if alert is not None:
            return alert
    return None


def _short_of_memory(ranks: int, rule: AlertRule) -> Alert | None:
    if not ranks:
        return None
    return Alert("Memory", rule.action, f"memory of {ranks} ranks: above {rule.threshold:.0%} of their limit")
