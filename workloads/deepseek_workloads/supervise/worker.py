"""PID 1 of a worker pod: carries out what `worker_machine` decides."""

import asyncio
import random
import shutil
import signal
import time
from collections.abc import Mapping

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.reasons import OUT_OF_MEMORY
from deepseek_workloads.contract.run_config import AnyRun, ServingRun
from deepseek_workloads.supervise import children, connections, haproxy, memory
from deepseek_workloads.supervise import worker_machine as machine
from deepseek_workloads.supervise.backend import backend_of
from deepseek_workloads.supervise.backoff import spread
from deepseek_workloads.supervise.epoch_client import EpochListener, follow_epochs
from deepseek_workloads.supervise.epoch_protocol import Hello
from deepseek_workloads.supervise.event_log import log
from deepseek_workloads.supervise.settings import Settings

NODE = "node"
MEMORY_POLL_SECONDS = 0.5
EXIT_RESERVE_SECONDS = 2.0


class Worker:
    def __init__(self, settings: Settings, run: AnyRun, *, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._run = run
        self._backend = backend_of(
            run, token=settings.token, run_config=str(settings.run_config_path), environ=environ
        )
        self._state = machine.WorkerState(serves=isinstance(run, ServingRun))
        self._events: asyncio.Queue[machine.Event] = asyncio.Queue()
        self._children = children.Children(self._child_exited)
        self._head_ip = ""
        self._starts = 0
        self._exit_code: int | None = None
        self._draining: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()

    async def run(self) -> int:
        """Until the run is over or the pod must go. Returns the pod's exit code."""
        loop = asyncio.get_running_loop()
        self._children.adopt_orphans(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._events.put_nowait, machine.Terminated())
        self._settings.drain_file.unlink(missing_ok=True)
        background = [asyncio.create_task(self._follow()), asyncio.create_task(self._watch_memory())]
        while self._exit_code is None:
            event = await self._events.get()
            log("event", what=type(event).__name__, detail=str(event))
            self._state, actions = machine.step(self._state, event)
            for action in actions:
                await self._do(action)
        for task in background:
            task.cancel()
        return self._exit_code

    # ---- events

    async def _follow(self) -> None:
        settings = self._settings
        listener = EpochListener(
            connected=self._connected,
            disconnected=lambda: self._events.put_nowait(machine.Disconnected()),
            dismissed=lambda: self._events.put_nowait(machine.Dismissed()),
        )
        hello = Hello(token=settings.token, pod=settings.pod_name, index=settings.worker_index)
        await follow_epochs(
            settings.coordinator_host,
            environment.EPOCH_PORT,
            hello=hello,
            listener=listener,
            leaving=self._leaving,
        )

    def _connected(self, epoch: int, head_ip: str) -> None:
        self._head_ip = head_ip
        self._events.put_nowait(machine.Connected(epoch))

    async def _watch_memory(self) -> None:
        before = memory.out_of_memory_kills()
        while memory.out_of_memory_kills() <= before:  # noqa: ASYNC110 - the kernel's file has no event
            await asyncio.sleep(MEMORY_POLL_SECONDS)
        self._events.put_nowait(machine.OutOfMemory())

    def _child_exited(self, ended: children.Exit) -> None:
        log("ended", process=ended.name, exit_code=ended.exit_code, uptime=round(ended.uptime_seconds, 1))
        self._events.put_nowait(machine.RayExited(ended.exit_code, ended.uptime_seconds))

    # ---- actions

    async def _do(self, action: machine.Action) -> None:
        loop = asyncio.get_running_loop()
        match action:
            case machine.StartRay():
                self._start_ray()
            case machine.KillAll():
                await self._kill_all()
            case machine.DrainRay():
                self._leaving.set()
                self._settings.drain_file.write_text(f"{time.time():.3f}\n")
                if isinstance(self._run, ServingRun):
                    self._draining = asyncio.create_task(self._drain_connections(self._run))
                else:
                    self._children.signal(NODE, signal.SIGTERM)
            case machine.SetBackoff(seconds):
                wait = spread(seconds, uniform=random.random)
                loop.call_later(wait, self._events.put_nowait, machine.BackoffOver())
            case machine.SetDrainDeadline():
                seconds = max(0.0, self._settings.grace_seconds - EXIT_RESERVE_SECONDS)
                loop.call_later(seconds, self._events.put_nowait, machine.DrainDeadline())
            case machine.Exit(code):
                self._leave(code)

    async def _drain_connections(self, run: ServingRun) -> None:
        """Answers say `Connection: close` from now on (the drain file); Ray goes when the last has gone."""
        if run.proxy == "haproxy":
            await asyncio.sleep(haproxy.ENDPOINTS_CHANGE_SECONDS)
            haproxy.stop_softly()
        gone = await connections.until_quiet(
            lambda: connections.established(environment.SERVE_PORT) > 0,
            limit_seconds=run.run_policy.drain_seconds,
        )
        log("drained", connections=0 if gone else connections.established(environment.SERVE_PORT))
        self._children.signal(NODE, signal.SIGTERM)

    def _start_ray(self) -> None:
        log("start", process=NODE, head=self._head_ip)
        argv = self._backend.worker(
            pod_ip=self._settings.pod_ip, coordinator_ip=self._head_ip, start=self._starts
        )
        self._starts += 1
        self._children.start(NODE, argv, environ=self._backend.environ)

    async def _kill_all(self) -> None:
        await self._children.kill_all()
        # The session of a dead node must not be found by the next one.
        await asyncio.to_thread(shutil.rmtree, self._settings.scratch / "ray", ignore_errors=True)

    def _leave(self, code: int) -> None:
        log("leave", exit_code=code)
        if code == machine.EXIT_OUT_OF_MEMORY:
            message = "the kernel killed a process of this worker for the pod's memory limit"
            verdict = Verdict(outcome="Failed", reason=OUT_OF_MEMORY, message=message, exit_code=code)
            self._settings.termination_message_path.write_bytes(verdict.to_termination_message())
        self._exit_code = code
