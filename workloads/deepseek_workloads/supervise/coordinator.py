"""PID 1 of a coordinator pod: carries out what `coordinator_machine` decides."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pydantic
from aiohttp import web

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.messages import Control, Progress, Report, Verdict
from deepseek_workloads.contract.run_config import AnyRun, ServingRun, TrainingRun
from deepseek_workloads.supervise import children, connections, coordinator_machine, outcomes
from deepseek_workloads.supervise import coordinator_events as events
from deepseek_workloads.supervise.backend import Backend, backend_of
from deepseek_workloads.supervise.backoff import spread
from deepseek_workloads.supervise.board import DRIVER_RANK, ProgressBoard
from deepseek_workloads.supervise.coordinator_state import CoordinatorState, Policy
from deepseek_workloads.supervise.epoch_server import EpochServer
from deepseek_workloads.supervise.event_log import log
from deepseek_workloads.supervise.http_api import Api, application
from deepseek_workloads.supervise.settings import Settings

PREFLIGHT, HEAD, DRIVER = "preflight", "ray-head", "driver"
DISMISS_SECONDS = 3.0
CONTROL_STOP_SECONDS = 900.0
NO_PROGRESS_SECONDS = (
    3600.0  # of accelerators that wait for a store; an outage is over by then, or will not be
)
BACKOFFS = frozenset({events.Timer.PREFLIGHT_BACKOFF, events.Timer.HEAD_BACKOFF, events.Timer.DRIVER_BACKOFF})
TERMINATION_RESERVE_SECONDS = 3.0
EXIT_CODES = {"Succeeded": 0, "Stopped": 0, "Retry": 75}


class Coordinator:
    def __init__(self, settings: Settings, run: AnyRun, *, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._run = run
        self._backend = backend_of(
            run, token=settings.token, run_config=str(settings.run_config_path), environ=environ
        )
        self._state = CoordinatorState(policy_of(run, settings, self._backend))
        self._events: asyncio.Queue[events.Event] = asyncio.Queue()
        self._timers: dict[events.Timer, asyncio.TimerHandle] = {}
        self._children = children.Children(self._child_exited)
        self._epochs = EpochServer(settings.token)
        self._board = ProgressBoard(run.workers.world_size)
        self._control = Control()
        self._driver_started = 0.0
        self._furthest = (0, 0)
        self._ready = False
        self._ranks_must_stop = False
        self._exit_code: int | None = None
        self._draining: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Until the verdict is written. Returns the pod's exit code."""
        loop = asyncio.get_running_loop()
        self._children.adopt_orphans(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._events.put_nowait, events.Terminated())
        self._settings.drain_file.unlink(missing_ok=True)
        self._events.put_nowait(events.Started())
        serving = asyncio.create_task(self._serve())
        serving.add_done_callback(self._servers_ended)
        while self._exit_code is None:
            event = await self._events.get()
            log("event", what=type(event).__name__, detail=str(event)[:500])
            self._board.account(self._state, now=time.monotonic())
            self._state, actions = coordinator_machine.step(self._state, event)
            for action in actions:
                await self._do(action)
        serving.cancel()
        return self._exit_code

    async def _serve(self) -> None:
        api = Api(
            token=self._settings.token,
            progress=self._progress,
            report=self._take_report,
            control=self._take_control,
            ready=lambda: self._ready,
        )
        runner = web.AppRunner(application(api), access_log=None, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, port=environment.COORDINATOR_PORT).start()
        await self._epochs.listen("0.0.0.0", environment.EPOCH_PORT)  # noqa: S104 - the pod's own network
        while True:
            await asyncio.sleep(1.0)
            self._board.account(self._state, now=time.monotonic())

    # ---- events

    def _servers_ended(self, serving: asyncio.Task[None]) -> None:
        if not serving.cancelled() and (error := serving.exception()) is not None:
            self._events.put_nowait(events.ServerFailed(f"{type(error).__name__}: {error}"))

    def _child_exited(self, ended: children.Exit) -> None:
        log("ended", process=ended.name, exit_code=ended.exit_code, uptime=round(ended.uptime_seconds, 1))
        code, uptime = ended.exit_code, ended.uptime_seconds
        if ended.name == PREFLIGHT:
            verdict = read_verdict(self._verdict_file(PREFLIGHT))
            self._events.put_nowait(events.PreflightExited(code, verdict))
        elif ended.name == HEAD:
            self._events.put_nowait(events.HeadExited(code, uptime))
        elif ended.name == DRIVER:
            verdict = read_verdict(self._verdict_file(DRIVER))
            self._events.put_nowait(events.DriverExited(code, verdict, uptime))

    def _take_report(self, report: Report) -> Control:
        if 0 < report.attempt < self._state.attempts:
            return self._effective_control()  # of a rank whose driver is gone; it has not noticed yet
        self._board.take(report, now=time.monotonic())
        self._note_position(report)
        # Replicas, unlike ranks, outlive the driver and do not lead the run.
        led_by_ranks = not isinstance(self._run, ServingRun)
        if not self._state.served and has_ready_replica(report):
            self._events.put_nowait(events.ReplicaReady())
        if led_by_ranks and report.rank != DRIVER_RANK and not self._state.ranks_running:
            self._events.put_nowait(events.RanksRunning())
        if report.failure is not None:
            if led_by_ranks:
                self._board.forget_ranks()
            missing = len(self._epochs.connected()) < self._run.workers.num_nodes
            uptime = time.monotonic() - self._driver_started
            step = self._progress().step
            self._events.put_nowait(events.GroupFailed(report.failure, step, missing, uptime))
        return self._effective_control()

    def _note_position(self, report: Report) -> None:
        position = position_of(report)
        if position > self._furthest:
            self._furthest = position
            if self._state.store_failures:
                self._events.put_nowait(events.Advanced())

    def _take_control(self, control: Control) -> Control:
        if control.generation >= self._control.generation:
            before, self._control = self._control.desired_state, control
            if control.desired_state == "Stopped" and before != "Stopped":
                self._events.put_nowait(events.StopRequested())
            elif control.desired_state == "Running" and before == "Stopped":
                self._events.put_nowait(events.StopWithdrawn())
        return self._control

    def _effective_control(self) -> Control:
        if self._ranks_must_stop:
            return self._control.model_copy(update={"desired_state": "Stopped"})
        return self._control

    def _progress(self) -> Progress:
        return self._board.progress(
            self._state,
            control=self._control,
            connected=len(self._epochs.connected()),
            expected=self._run.workers.num_nodes,
            now=time.monotonic(),
        )

    # ---- actions

    async def _do(self, action: events.Action) -> None:
        match action:
            case events.StartPreflight():
                self._start_module(PREFLIGHT, "deepseek_workloads.launch.preflight")
            case events.StartHead(epoch):
                if (argv := self._backend.head(pod_ip=self._settings.pod_ip)) is not None:
                    self._start(HEAD, argv)
                self._epochs.begin(epoch)
            case events.StartDriver(attempt):
                self._board.forget_driver()
                self._driver_started = time.monotonic()
                self._start_module(DRIVER, self._backend.driver, f"--attempt={attempt}")
            case events.EndEpoch():
                self._epochs.end()
            case events.KillAll():
                await self._children.kill_all()
            case events.BecomeReady():
                self._ready = True
            case events.AskRanksToStop():
                self._ranks_must_stop = True
            case events.AskRanksToGoOn():
                self._ranks_must_stop = False
            case events.DrainConnections():
                self._draining = asyncio.create_task(self._drain_connections())
            case events.SetTimer(timer, seconds):
                self._set_timer(timer, seconds)
            case events.Finish(verdict, dismiss_workers):
                await self._finish(verdict, dismiss_workers=dismiss_workers)

    async def _drain_connections(self) -> None:
        """Workers that end with this pod let their clients go, and need the head for it. Those that stay are
        not waited for: they answer on without it, until the next coordinator is there."""
        self._settings.drain_file.write_text(f"{time.time():.3f}\n")

        def busy() -> bool:
            clients = connections.established(environment.SERVE_PORT)
            return bool(self._epochs.leaving()) or clients > 0

        await connections.until_quiet(busy, limit_seconds=self._settings.grace_seconds)
        self._events.put_nowait(events.Drained())

    def _start_module(self, name: str, module: str, *arguments: str) -> None:
        verdict_file = self._verdict_file(name)
        verdict_file.unlink(missing_ok=True)
        config = f"--run-config={self._settings.run_config_path}"
        argv = [sys.executable, "-m", module, config, f"--verdict-file={verdict_file}", *arguments]
        self._start(name, argv)

    def _start(self, name: str, argv: list[str]) -> None:
        log("start", process=name)
        self._children.start(name, argv, environ=self._backend.environ)

    def _set_timer(self, timer: events.Timer, seconds: float) -> None:
        if timer in self._timers:
            self._timers[timer].cancel()
        if timer in BACKOFFS:
            seconds = spread(seconds, uniform=random.random)
        loop = asyncio.get_running_loop()
        self._timers[timer] = loop.call_later(seconds, self._events.put_nowait, events.TimerFired(timer))

    async def _finish(self, verdict: Verdict, *, dismiss_workers: bool) -> None:
        verdict = outcomes.with_position(verdict, self._progress())
        log("verdict", **verdict.model_dump(mode="json", exclude_defaults=True))
        # First of all: nothing after this line may lose the outcome.
        self._settings.termination_message_path.write_bytes(verdict.to_termination_message())
        if dismiss_workers:
            await self._epochs.dismiss(within_seconds=DISMISS_SECONDS)
        await self._children.kill_all()
        self._exit_code = EXIT_CODES.get(verdict.outcome, verdict.exit_code or 1)

    def _verdict_file(self, name: str) -> Path:
        return self._settings.scratch / f"{name}-verdict.json"


def policy_of(run: AnyRun, settings: Settings, backend: Backend) -> Policy:
    return Policy(
        backoff_limit=run.run_policy.backoff_limit,
        preflight_seconds=float(run.run_policy.startup_deadline_seconds),
        control_stop_seconds=CONTROL_STOP_SECONDS,
        no_progress_seconds=None if isinstance(run, ServingRun) else NO_PROGRESS_SECONDS,
        termination_stop_seconds=max(0.0, settings.grace_seconds - TERMINATION_RESERVE_SECONDS),
        graceful_stop=isinstance(run, TrainingRun),
        drain_connections=isinstance(run, ServingRun),
        epoch_per_attempt=backend.epoch_per_attempt,
    )


def position_of(report: Report) -> tuple[int, int]:
    """Step of a training run, shards done of a dataset's stages: what is lost is made again below it."""
    progress = report.progress or Progress()
    return max(report.step, progress.step), sum(stage.done for stage in progress.stages)


def has_ready_replica(report: Report) -> bool:
    """The driver counts them."""
    serving = report.progress.serving if report.progress is not None else None
    return report.rank == DRIVER_RANK and serving is not None and serving.ready_replicas > 0


def read_verdict(path: Path) -> Verdict | None:
    """None: not written, or not whole."""
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except (OSError, pydantic.ValidationError):
        return None
