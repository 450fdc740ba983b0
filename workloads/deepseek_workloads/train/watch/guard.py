"""Watches the steps of a run by the rules of the moment, and says what is to be done about each.

The same on every rank: rules come from rank 0, figures from all. It does no I/O.
"""

from collections.abc import Callable, Mapping
from math import isfinite, nan
from typing import Final

import torch
from torch import Tensor

from deepseek_workloads.contract.messages import AlertSummary
from deepseek_workloads.contract.monitoring import AlertAction, Alerts
from deepseek_workloads.train.trainer import StepResult
from deepseek_workloads.train.watch.alerts import (
    HISTORY_STEPS,
    Alert,
    AlertWatch,
    Measured,
    from_numbers,
    to_numbers,
    worst,
)

MOST_SKIPPED_STEPS = 32  # in a row: what none of them could be taken of does not train
SHOWN_STEPS = 20  # for so long an alert is among the present ones
SHOWN_ALERTS = 8
_NAME: Final = "recent_losses"


class Guard:
    """A `StatePart` of a checkpoint, too."""

    needed: Final = False

    def __init__(
        self,
        rules: Callable[[], Alerts],
        memory_share: Callable[[], float | None],
        *,
        largest_expert_load: float | None = None,
    ) -> None:
        """`rules`: the newest that this rank knows; rank 0's count. `largest_expert_load`: of an expert that
        takes every token; None: the model has no experts, or none that are known."""
        self._rules_of_moment, self._memory_share = rules, memory_share
        self._largest_expert_load = largest_expert_load
        self._watch = AlertWatch()
        self._alerts: list[Alert] = []
        self._recent: dict[
            str, tuple[int, AlertSummary]
        ] = {}  # by kind, with the number of steps judged then
        self._rollbacks = self._skipped = self._judged = 0
        self.rules = rules()

    def state(self) -> dict[str, Tensor]:
        """What a step's loss is held against is part of a checkpoint: a run that goes on judges as one that
        was not interrupted. Of one size, whatever there is of it."""
        losses = self._watch.losses
        return {_NAME: torch.tensor([*losses, *[nan] * (HISTORY_STEPS - len(losses))], dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._watch.recall([loss for loss in state[_NAME].tolist() if isfinite(loss)])

    def numbers(self) -> list[float]:
        """What rank 0 tells the others with a step."""
        return to_numbers(self._rules_of_moment())

    def short_of_memory(self) -> bool:
        rule, share = self._rules_of_moment().memory, self._memory_share()
        return rule.action != "ignore" and share is not None and share > rule.threshold

    def accept(self, result: StepResult, *, ranks_short_of_memory: int) -> bool:
        """Whether the step's update is to be taken."""
        self.rules = from_numbers(result.leading)
        self._judged += 1
        largest = self._largest_expert_load
        measured = Measured(
            loss=result.loss,
            auxiliary=result.auxiliary,
            gradient_norm=result.gradient_norm,
            expert_load=result.expert_load,
            busiest=result.busiest,
            token_share=result.expert_load / largest if largest is not None else None,
            idle_share=result.idle_share,
            idle_layer=result.idle_layer,
            activation_ranges=result.activation_ranges,
            ranks_short_of_memory=ranks_short_of_memory,
        )
        self._alerts = self._watch.judge(measured, self.rules)
        good = worst(self._alerts) in ("ignore", "warn")
        if good:
            self._watch.remember(result.loss)
        return good

    def action(self, result: StepResult) -> AlertAction:
        """What the step asks for. An overflow of float16 is no alert. Once for each step."""
        if result.overflow:
            self._alerts = []
        else:
            self._skipped = 0 if result.applied else self._skipped + 1
        return "stop" if self.reason_to_stop else worst(self._alerts)

    @property
    def reason_to_stop(self) -> str | None:
        """Of the newest step, to be said after what its alert says."""
        if worst(self._alerts) == "stop":
            return "whose action in spec.alerts is stop"
        return self.given_up

    @property
    def given_up(self) -> str | None:
        """Why nothing milder than to stop is left for the newest step, where its action was milder."""
        action = worst(self._alerts)
        if action == "rollback" and self._rollbacks >= self.rules.max_rollbacks:
            return f"after {self._rollbacks} rollbacks, as many as spec.alerts.maxRollbacks allows"
        if self._skipped >= MOST_SKIPPED_STEPS:
            return f"and none of the last {self._skipped} steps was taken, so that nothing is learnt"
        return None

    @property
    def alerts(self) -> list[Alert]:
        """Of the newest step, the mildest first."""
        return self._alerts

    def rolled_back(self) -> None:
        self._rollbacks += 1
        self._skipped = 0
        self._watch.forget()

    def recent(self, step: int) -> list[AlertSummary]:
        """Those of the last steps taken, this one's included, also where a rollback went behind their own
        number; a kind once, with its newest step."""
        for alert in self._alerts:
            self._recent.pop(alert.kind, None)
            shown = AlertSummary(kind=alert.kind, action=alert.action, step=step, message=alert.message)
            self._recent[alert.kind] = self._judged, shown
        self._recent = {
            kind: (judged, alert)
            for kind, (judged, alert) in self._recent.items()
            if self._judged - judged < SHOWN_STEPS
        }
        return [alert for _, alert in self._recent.values()][-SHOWN_ALERTS:]
