"""The driver of a serving run: joins the pod's Ray cluster, starts Serve, keeps a replica on every worker.

`python -m deepseek_workloads.launch.ray_serve --run-config F --verdict-file V --attempt N`, on the
coordinator. What it starts outlives it: a driver that is started again finds Serve running and watches on. It
does not know what a replica does.
"""

import sys
import time
import traceback
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.api import RunTarget, run_many
from ray.serve.schema import ApplicationStatus, LoggingConfig, ReplicaState

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Phase, Progress, ServingProgress, Verdict
from deepseek_workloads.contract.run_config import ServingRun, parse_run
from deepseek_workloads.launch import ray_cluster
from deepseek_workloads.launch.arguments import parse_arguments, write_verdict
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.launch.serve_deployment import ModelDeployment
from deepseek_workloads.train.monitor import DRIVER_RANK, ReportClient

APPLICATION = "model"
POLL_SECONDS = 0.5
# Requests in the replica beside those of the engine: health, metrics, refusals on their way.
SPARE_REQUESTS = 100


class ReplicasFailed(Exception):
    """Ray Serve has given up to start replicas. The message is its own."""


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv, program="deepseek_workloads.launch.ray_serve")
    run = parse_run(arguments.run_document)
    assert isinstance(run, ServingRun)
    monitor = report_client(DRIVER_RANK)
    try:
        keep_serving(run, arguments.run_document, monitor)
    except Exception as error:
        traceback.print_exc()
        verdict = verdict_of(error)
    finally:
        monitor.close()
    write_verdict(arguments.verdict_file, verdict)
    return verdict.exit_code


def keep_serving(run: ServingRun, document: str, monitor: ReportClient) -> None:
    """Until something ends it. Raises NotInTime, ReplicasFailed and RayErrors."""
    monitor.publish(Progress(phase="Starting", message="Ray's head is starting"))
    ray_cluster.connect()

    def waiting(alive: int) -> None:
        message = f"{alive} of {run.workers.num_nodes} worker nodes have joined Ray"
        monitor.publish(Progress(phase="WaitingForWorkers", message=message))

    start_serve(run)
    # One is enough to begin: the others get their replicas when they come.
    ray_cluster.wait_for_workers(1, seconds=run.run_policy.startup_deadline_seconds, waiting=waiting)
    replicas, ready, checked = 0, 0, False
    while True:
        wanted = wanted_replicas(replicas, nodes=ray_cluster.worker_nodes(), ready=ready)
        if wanted != replicas:
            deploy(run, document, replicas=wanted)
            replicas = wanted
        ready = ready_replicas(serve.status())
        checked = checked or ready > 0  # a replica runs only after it has passed the check
        monitor.publish(progress_of(replicas, ready, checked=checked))
        time.sleep(POLL_SECONDS)


def start_serve(run: ServingRun) -> None:
    """A proxy on each node that has a replica. On a running Serve it changes nothing."""
    drain = run.run_policy.drain_seconds
    serve.start(
        proxy_location="EveryNode",
        http_options={
            "host": "0.0.0.0",  # noqa: S104 - the pod's own network
            "port": environment.SERVE_PORT,
            # A connection that nobody uses must end by itself before a drain does.
            "keep_alive_timeout_s": max(1, drain // 2),
        },
        logging_config=_logging(),
    )
    status = serve.status()
    if _status_of(status) is ApplicationStatus.DEPLOY_FAILED and not _running(status):
        serve.delete(APPLICATION)  # it failed under the driver before this one


def deploy(run: ServingRun, document: str, *, replicas: int) -> None:
    """Returns at once. Deployed again with another number, the replicas that run are left alone: the version
    says that their code is the same. Without one, which the public call does not take, Ray restarts them all.
    """
    deployment = serve.deployment(
        ModelDeployment,
        name=APPLICATION,
        num_replicas=replicas,
        max_replicas_per_node=1,
        max_ongoing_requests=run.engine.max_num_seqs + run.engine.max_queued_requests + SPARE_REQUESTS,
        graceful_shutdown_timeout_s=run.run_policy.drain_seconds,
        ray_actor_options={"num_cpus": 1, "num_gpus": run.workers.gpus_per_node},
    ).options(version="1", _internal=True)
    target = RunTarget(
        target=deployment.bind(document), name=APPLICATION, route_prefix="/", logging_config=_logging()
    )
    run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def wanted_replicas(replicas: int, *, nodes: int, ready: int) -> int:
    """One a node; of a cluster that lost its last worker as many as before, until one comes back.

    Fewer only once Ray Serve has seen that the replica of the lost node is gone: told earlier, it may stop
    one that answers.
    """
    if nodes > replicas:
        return nodes
    return nodes if nodes > 0 and ready <= nodes else replicas


def ready_replicas(status: Any) -> int:
    """Of `serve.status()`. Raises ReplicasFailed, where there is none that answers."""
    application = status.applications.get(APPLICATION)
    if application is None:
        return 0
    ready = _running(status)
    if application.status is ApplicationStatus.DEPLOY_FAILED and not ready:
        deployment = application.deployments.get(APPLICATION)
        raise ReplicasFailed((deployment.message if deployment else "") or application.message)
    return ready


def progress_of(replicas: int, ready: int, *, checked: bool) -> Progress:
    phase: Phase = "Serving" if checked else "Checking"
    verb = "are ready" if checked else "have loaded and checked the model"
    return Progress(
        phase=phase,
        message=f"{ready} of {replicas} replicas {verb}",
        serving=ServingProgress(replicas=replicas, ready_replicas=ready, checked=checked),
    )


def verdict_of(error: Exception) -> Verdict:
    """Every one asks for another start of the driver; what is final, a replica has told the coordinator."""
    match error:
        case ray_cluster.NotInTime():
            return _try_again(reasons.WORKERS_MISSING, error, ExitCode.TRY_AGAIN)
        case ReplicasFailed():
            return _try_again(reasons.REPLICAS_FAILED, error, 1)
        case RayError():
            return _try_again(reasons.NODE_LOST, error, ExitCode.TRY_AGAIN)
    return _try_again(reasons.INTERNAL_ERROR, error, 1)


def _try_again(reason: str, error: Exception, exit_code: int) -> Verdict:
    return Verdict(outcome="Retry", reason=reason, message=str(error)[:1000], exit_code=int(exit_code))


def _status_of(status: Any) -> ApplicationStatus | None:
    application = status.applications.get(APPLICATION)
    return application.status if application else None


def _running(status: Any) -> int:
    application = status.applications.get(APPLICATION)
    deployment = application.deployments.get(APPLICATION) if application else None
    return int(deployment.replica_states.get(ReplicaState.RUNNING, 0)) if deployment else 0


def _logging() -> LoggingConfig:
    return LoggingConfig(log_level="WARNING", encoding="JSON", enable_access_log=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
