"""What the supervisors start for a run: by Ray, or by Horovod. Pure."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from deepseek_workloads.contract.run_config import AnyRun, TrainingRun
from deepseek_workloads.supervise import horovod_command, ray_command

_RAY_DRIVERS = {"training": "ray_train", "dataset": "ray_prepare", "serving": "ray_serve"}


class Backend(Protocol):
    @property
    def environ(self) -> Mapping[str, str]:
        """Of every process."""
        ...

    @property
    def driver(self) -> str:
        """The driver's module."""
        ...

    @property
    def epoch_per_attempt(self) -> bool:
        """Whether a broken group needs new processes on every pod. Otherwise the driver starts it again."""
        ...

    def head(self, *, pod_ip: str) -> list[str] | None:
        """Command line of what the workers join, besides the driver; None: nothing."""
        ...

    def worker(self, *, pod_ip: str, coordinator_ip: str, start: int) -> list[str]:
        """Command line of a worker pod's process; `start` counts the starts in the pod."""
        ...


@dataclass(frozen=True)
class RayBackend:
    run: AnyRun
    environ: Mapping[str, str]
    epoch_per_attempt: bool = False

    @property
    def driver(self) -> str:
        return f"deepseek_workloads.launch.{_RAY_DRIVERS[self.run.kind]}"

    def head(self, *, pod_ip: str) -> list[str] | None:
        return _python(ray_command.PYTHON_MODULE_NODE, ray_command.head_arguments(self.run, pod_ip=pod_ip))

    def worker(self, *, pod_ip: str, coordinator_ip: str, start: int) -> list[str]:
        arguments = ray_command.worker_arguments(self.run, pod_ip=pod_ip, head_ip=coordinator_ip, start=start)
        return _python(ray_command.PYTHON_MODULE_NODE, arguments)


@dataclass(frozen=True)
class HorovodBackend:
    environ: Mapping[str, str]
    run_config: str  # its path
    driver: str = "deepseek_workloads.launch.horovod"
    epoch_per_attempt: bool = True

    def head(self, *, pod_ip: str) -> list[str] | None:  # noqa: ARG002 - the driver is what they join
        return None

    def worker(self, *, pod_ip: str, coordinator_ip: str, start: int) -> list[str]:  # noqa: ARG002
        arguments = horovod_command.node_arguments(run_config=self.run_config, coordinator_ip=coordinator_ip)
        return _python(horovod_command.PYTHON_MODULE_NODE, arguments)


def backend_of(run: AnyRun, *, token: str, run_config: str, environ: Mapping[str, str]) -> Backend:
    if isinstance(run, TrainingRun) and run.backend == "horovod":
        return HorovodBackend(horovod_command.horovod_environment(run, environ=environ), run_config)
    return RayBackend(run, ray_command.ray_environment(run, token=token, environ=environ))


def _python(module: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
