"""The driver of a training run by Horovod: the rendezvous of its ranks, and the launcher that starts them.

`python -m deepseek_workloads.launch.horovod --run-config F --verdict-file V --attempt N`, on the
coordinator. Static mode only: a plan is made for each attempt, and a broken group ends this process, told to
the supervisor, which starts everything again. It does not know what a rank does.
"""

import asyncio
import os
import sys
import traceback

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun, parse_run
from deepseek_workloads.launch.arguments import Arguments, parse_arguments, write_verdict
from deepseek_workloads.launch.horovod_launcher import Launcher, WorkersMissing
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.train.monitor import DRIVER_RANK, ReportClient


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv, program="deepseek_workloads.launch.horovod")
    run = parse_run(arguments.run_document)
    assert isinstance(run, TrainingRun)
    monitor = report_client(DRIVER_RANK)
    try:
        ending = asyncio.run(launch(run, arguments, monitor))
        verdict = ending if isinstance(ending, Verdict) else _told(ending, monitor)
    except WorkersMissing as error:
        verdict = _retry(reasons.WORKERS_MISSING, str(error), ExitCode.TRY_AGAIN)
    except Exception as error:
        traceback.print_exc()
        verdict = _retry(reasons.INTERNAL_ERROR, str(error), 1)
    finally:
        monitor.close()
    write_verdict(arguments.verdict_file, verdict)
    return verdict.exit_code


async def launch(run: TrainingRun, arguments: Arguments, monitor: ReportClient) -> Verdict | Failure:
    """One group, until it ends. Raises WorkersMissing."""
    from deepseek_workloads.launch.horovod_rendezvous import Rendezvous

    rendezvous = Rendezvous(environment.HOROVOD_RENDEZVOUS_PORT)
    workers = run.workers

    def waiting(connected: int) -> None:
        message = f"{connected} of {workers.num_nodes} worker pods are ready for Horovod's ranks"
        monitor.publish(Progress(phase="WaitingForWorkers", message=message))

    launcher = Launcher(
        token=os.environ[environment.JOB_TOKEN],
        nodes=workers.num_nodes,
        term=[int(os.environ.get(environment.INCARNATION, "0")), arguments.attempt],
        plan=lambda pods: rendezvous.plan(pods, ranks_per_host=workers.num_proc_per_node),
    )
    try:
        await launcher.listen("0.0.0.0", environment.HOROVOD_LAUNCHER_PORT)  # noqa: S104 - the pod's network
        return await launcher.run(startup_seconds=run.run_policy.startup_deadline_seconds, waiting=waiting)
    finally:
        await launcher.close()
        rendezvous.close()


def _told(failure: Failure, monitor: ReportClient) -> Verdict:
    """The supervisor ends this process when it has heard of the failure; the verdict is for one that has
    not."""
    print(f"the group ended: {failure.kind}: {failure.reason}: {failure.message}", flush=True)
    monitor.report_failure(failure)
    verdict = _retry(failure.reason, failure.message, failure.exit_code)
    return verdict.model_copy(update={"outcome": "Failed"}) if failure.kind == "final" else verdict


def _retry(reason: str, message: str, exit_code: int) -> Verdict:
    return Verdict(outcome="Retry", reason=reason, message=message, exit_code=exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
