"""The driver of a training run: joins the pod's Ray cluster, waits for workers, has Ray Train run the ranks.

`python -m deepseek_workloads.launch.ray_train --run-config F --verdict-file V --attempt N`, on the
coordinator. Ray Train restarts a broken group by itself, for ever; each ending is reported to the supervisor,
which counts, and ends this process when it must not go on. It does not know what a rank does.
"""

import os
import sys
import traceback
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Phase, Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun, parse_run
from deepseek_workloads.launch import ray_cluster
from deepseek_workloads.launch.arguments import Arguments, parse_arguments, write_verdict
from deepseek_workloads.launch.process_group import ProcessGroupConfig, backend_of
from deepseek_workloads.launch.rank import RUN_DOCUMENT, TERM, run_rank
from deepseek_workloads.launch.ray_failures import failure_of_group
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.launch.trainer import PodSetTrainer
from deepseek_workloads.train.monitor import DRIVER_RANK, ReportClient

RAY_TRAIN_STORAGE = f"{environment.SCRATCH_DIR}/ray-train"  # our checkpoints never go through Ray
COLLECTIVE_TIMEOUT_SECONDS = 600
INFINITE = -1


class EndingReporter(UserCallback):  # type: ignore[misc]
    """In Ray Train's controller process: says why a group ended, before the next one is started."""

    def after_exception(
        self,
        run_context: Any,  # noqa: ARG002 - the name is the interface
        worker_exceptions: dict[int, Exception],
    ) -> None:
        failure = failure_of_group(worker_exceptions)
        print(f"the group ended: {failure.kind}: {failure.reason}: {failure.message}", flush=True)
        client = report_client(DRIVER_RANK)
        client.report_failure(failure)
        client.close()


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv, program="deepseek_workloads.launch.ray_train")
    run = parse_run(arguments.run_document)
    assert isinstance(run, TrainingRun)
    monitor = report_client(DRIVER_RANK)
    try:
        verdict = fit(run, arguments, monitor)
    except ray_cluster.NotInTime as error:
        verdict = _try_again(reasons.WORKERS_MISSING, str(error))
    except Exception as error:
        traceback.print_exc()
        verdict = Verdict(outcome="Retry", reason=reasons.INTERNAL_ERROR, message=str(error), exit_code=1)
    finally:
        monitor.close()
    write_verdict(arguments.verdict_file, verdict)
    return verdict.exit_code


def fit(run: TrainingRun, arguments: Arguments, monitor: ReportClient) -> Verdict:
    """Until the ranks return a verdict. Raises what Ray Train raises when it cannot go on by itself."""
    _show(monitor, "Starting", "Ray's head is starting")
    ray_cluster.connect()
    nodes = run.workers.num_nodes

    def waiting(alive: int) -> None:
        _show(monitor, "WaitingForWorkers", f"{alive} of {nodes} worker nodes have joined Ray")

    ray_cluster.wait_for_workers(nodes, seconds=run.run_policy.startup_deadline_seconds, waiting=waiting)
    _show(monitor, "Starting", f"starting {run.workers.world_size} ranks")
    result = trainer_of(run, arguments).fit()
    return Verdict.model_validate(result.return_value)


def trainer_of(run: TrainingRun, arguments: Arguments) -> PodSetTrainer:
    incarnation = int(os.environ.get(environment.INCARNATION, "0"))
    gpus = run.workers.gpus_per_node
    return PodSetTrainer(
        run_rank,
        train_loop_config={RUN_DOCUMENT: arguments.run_document, TERM: [incarnation, arguments.attempt]},
        backend_config=ProcessGroupConfig(
            backend=backend_of(run), timeout_seconds=COLLECTIVE_TIMEOUT_SECONDS
        ),
        scaling_config=ScalingConfig(
            num_workers=run.workers.world_size,
            use_gpu=gpus > 0,
            resources_per_worker={
                "CPU": 1,
                **({"GPU": gpus / run.workers.num_proc_per_node} if gpus else {}),
            },
            placement_strategy="PACK",  # ranks of a node are neighbours: it has just their number of places
        ),
        run_config=RunConfig(
            name=f"{run.owner.name}-{arguments.attempt}",
            storage_path=RAY_TRAIN_STORAGE,
            failure_config=FailureConfig(max_failures=INFINITE, controller_failure_limit=INFINITE),
            callbacks=[EndingReporter()],
        ),
    )


def _show(monitor: ReportClient, phase: Phase, message: str) -> None:
    monitor.publish(Progress(phase=phase, message=message))


def _try_again(reason: str, message: str) -> Verdict:
    return Verdict(outcome="Retry", reason=reason, message=message, exit_code=ExitCode.TRY_AGAIN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
