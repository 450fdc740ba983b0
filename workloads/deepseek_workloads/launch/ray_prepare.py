"""The driver of a dataset run: joins the pod's Ray cluster and runs the parts of each stage as Ray tasks.

`python -m deepseek_workloads.launch.ray_prepare --run-config F --verdict-file V --attempt N`, on the
coordinator. A task that is lost with its node is run again by Ray. It does not know what a part is.
"""

import itertools
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Progress, Verdict
from deepseek_workloads.contract.run_config import DatasetRun, parse_run
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.launch import ray_cluster
from deepseek_workloads.launch.arguments import parse_arguments, write_verdict
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.launch.text_models import TextModelsOnDemand
from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.monitor import DRIVER_RANK, ReportClient

Item = TypeVar("Item")
Result = TypeVar("Result")
TASKS_IN_FLIGHT_PER_CPU = 2  # one runs, one is ready
LOST_TASK_RETRIES = 8  # with its node or process; errors of the task itself are not retried


class RayExecutor:
    """An Executor (`data.prepare.executor`) over the CPUs of the worker pods."""

    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        remote = ray.remote(num_cpus=1, max_retries=LOST_TASK_RETRIES)(_call)
        shared = ray.put(task)  # once: it may carry the records of every part
        waiting = iter(items)
        room = max(1, int(TASKS_IN_FLIGHT_PER_CPU * ray.cluster_resources().get("CPU", 1)))
        running = [remote.remote(shared, item) for item in itertools.islice(waiting, room)]
        try:
            while running:
                (done, *_), running = ray.wait(running, num_returns=1)
                running += [remote.remote(shared, item) for item in itertools.islice(waiting, 1)]
                yield _result(done)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _call(task: Callable[[Item], Result], item: Item) -> Result:
    """Ray wants a function, and a task is a partial of one."""
    return task(item)


def _result(reference: Any) -> Any:
    """Raises the task's own exception, not Ray's wrapper around it."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv, program="deepseek_workloads.launch.ray_prepare")
    run = parse_run(arguments.run_document)
    assert isinstance(run, DatasetRun)
    monitor = report_client(DRIVER_RANK)
    try:
        verdict = _prepare(run, monitor)
    except Exception as error:
        traceback.print_exc()
        verdict = verdict_of(error)
    finally:
        monitor.close()
    write_verdict(arguments.verdict_file, verdict)
    return verdict.exit_code


def _prepare(run: DatasetRun, monitor: ReportClient) -> Verdict:
    monitor.publish(Progress(phase="Starting", message="Ray's head is starting"))
    ray_cluster.connect()
    nodes = run.workers.num_nodes

    def waiting(alive: int) -> None:
        message = f"{alive} of {nodes} worker nodes have joined Ray"
        monitor.publish(Progress(phase="WaitingForWorkers", message=message))

    # One is enough to begin: the others take up tasks when they come.
    ray_cluster.wait_for_workers(1, seconds=run.run_policy.startup_deadline_seconds, waiting=waiting)
    return prepare(
        run,
        open_store=open_store,
        executor=RayExecutor(),
        report=monitor.publish,
        text_models=TextModelsOnDemand(),
    )


def verdict_of(error: Exception) -> Verdict:
    """Of what ended the preparation: final for bad input, another try for all that may pass."""
    match error:
        case DatasetError():
            return _verdict("Failed", error.reason, error, ExitCode.BAD_INPUT)
        case StoreError() if not error.transient:
            return _verdict("Failed", error.reason, error, ExitCode.BAD_INPUT)
        case StoreError():
            return _verdict("Retry", error.reason, error, ExitCode.TRY_AGAIN)
        case ray_cluster.NotInTime():
            return _verdict("Retry", reasons.WORKERS_MISSING, error, ExitCode.TRY_AGAIN)
        case RayError() if not isinstance(error, RayTaskError):
            return _verdict("Retry", reasons.NODE_LOST, error, ExitCode.TRY_AGAIN)
    return _verdict("Retry", reasons.INTERNAL_ERROR, error, 1)


def _verdict(outcome: str, reason: str, error: Exception, exit_code: int) -> Verdict:
    return Verdict.model_validate(
        {"outcome": outcome, "reason": reason, "message": str(error), "exit_code": int(exit_code)}
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
