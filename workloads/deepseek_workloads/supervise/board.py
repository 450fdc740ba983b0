"""What is known of the run's progress: reports of the ranks merged with the supervisor's own view.

It keeps the last word of each rank and hands out one `Progress`. It does no I/O and reads no clock.
"""

from dataclasses import dataclass, field

from deepseek_workloads.contract.messages import (
    MAX_PROGRESS_BYTES,
    Control,
    Phase,
    Progress,
    RankHeartbeat,
    Report,
    ServingProgress,
)
from deepseek_workloads.supervise.coordinator_state import Child, CoordinatorState
from deepseek_workloads.supervise.serving_figures import merged

MAX_TEXT = 600
MAX_SHOWN_RANKS = 64
DRIVER_RANK = -1
STALE_SECONDS = 10.0  # a replica that has not reported for so long is not counted
# Seconds in these phases are counted here; the ranks count those in which they work.
_OWN_PHASES: dict[Phase, str] = {
    "Preflight": "preflight",
    "WaitingForWorkers": "waitingForWorkers",
    "Starting": "starting",
    "Stopping": "stopping",
}


@dataclass(frozen=True)
class _Heard:
    report: Report
    at: float  # monotonic seconds


@dataclass
class ProgressBoard:
    world_size: int
    _ranks: dict[int, _Heard] = field(default_factory=dict)
    _driver: Progress | None = None
    _leader: Progress = field(default_factory=Progress)  # of rank 0; outlives restarts
    _seconds: dict[str, float] = field(default_factory=dict)
    _accounted_until: float | None = None

    def forget_ranks(self) -> None:
        """The group is gone; what it had reached stays shown."""
        self._ranks.clear()

    def forget_driver(self) -> None:
        self._driver = None
        self._ranks.clear()

    def take(self, report: Report, *, now: float) -> None:
        if report.rank == DRIVER_RANK:
            self._driver = report.progress or self._driver
            return
        self._ranks[report.rank] = _Heard(report, now)
        if report.rank == 0 and report.progress is not None:
            self._leader = report.progress

    def account(self, state: CoordinatorState, *, now: float) -> None:
        """Adds the time since the last call to the phase that the run is in."""
        name = _OWN_PHASES.get(self._phase(state))
        if self._accounted_until is not None and name is not None:
            self._seconds[name] = self._seconds.get(name, 0.0) + now - self._accounted_until
        self._accounted_until = now

    def seen_generation(self, control: Control) -> int:
        """The newest control that every rank has seen; without ranks there is nobody who could miss it."""
        if not self._ranks:
            return control.generation
        if len(self._ranks) < self.world_size:
            return 0
        return min(heard.report.control_generation for heard in self._ranks.values())

    def progress(
        self, state: CoordinatorState, *, control: Control, connected: int, expected: int, now: float
    ) -> Progress:
        shown = self._leader
        if self._driver is not None and not state.ranks_running:
            shown = _overlay(shown, self._driver)
        failure = state.last_failure
        progress = shown.model_copy(
            update={
                "phase": self._phase(state),
                "message": _cut(self._message(state, shown, connected=connected, expected=expected)),
                "restarts": state.restarts,
                "failures": state.failures,
                "last_failure": _cut(f"{failure.reason}: {failure.message}") if failure else "",
                "goodput": {**{k: round(v, 1) for k, v in self._seconds.items()}, **shown.goodput},
                "ranks": self._heartbeats(now),
                "warnings": [_cut(warning) for warning in shown.warnings],
                "control_generation": self.seen_generation(control),
                "desired_state": control.desired_state,
                "serving": self._serving(shown.serving, now=now),
            }
        )
        if len(progress.to_json()) > MAX_PROGRESS_BYTES:
            progress = progress.model_copy(update={"ranks": [], "checkpoints": progress.checkpoints[-1:]})
        return progress

    def _serving(self, driver: ServingProgress | None, *, now: float) -> ServingProgress | None:
        fresh = [heard.report.progress for heard in self._ranks.values() if now - heard.at < STALE_SECONDS]
        return merged(driver, [progress.serving for progress in fresh if progress and progress.serving])

    def _heartbeats(self, now: float) -> list[RankHeartbeat]:
        ranks = sorted(self._ranks.items())[:MAX_SHOWN_RANKS]
        return [
            RankHeartbeat(
                rank=rank, pod=heard.report.pod, step=heard.report.step, age_seconds=round(now - heard.at, 1)
            )
            for rank, heard in ranks
        ]

    def _phase(self, state: CoordinatorState) -> Phase:
        if state.finished:
            return "Done"
        if state.stop is not None:
            return "Stopping"
        if state.preflight is not Child.PASSED:
            return "Preflight"
        if state.ranks_running:
            return self._leader.phase if 0 in self._ranks else "Starting"
        if state.driver is Child.RUNNING and self._driver is not None:
            return self._driver.phase
        return "Starting"

    def _message(self, state: CoordinatorState, shown: Progress, *, connected: int, expected: int) -> str:
        if state.preflight is Child.BACKING_OFF and state.last_failure is not None:
            return f"preflight is tried again: {state.last_failure.message}"
        if state.preflight is Child.PASSED and not state.ranks_running and connected < expected:
            return f"{connected} of {expected} workers are connected"
        if state.driver is Child.BACKING_OFF:
            return "the driver is started again"
        return shown.message


def _overlay(leader: Progress, driver: Progress) -> Progress:
    """The driver's own fields over what rank 0 had reached."""
    return leader.model_copy(update={name: getattr(driver, name) for name in driver.model_fields_set})


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 4] + " ..."
