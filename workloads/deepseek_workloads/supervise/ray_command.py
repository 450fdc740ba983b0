"""Command lines and environment of Ray on a pod. Pure; a flag that is not Ray's default has its reason here.

It does not start anything, and it does not import Ray.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.run_config import AnyRun, DatasetRun, ServingRun

PYTHON_MODULE_NODE = "deepseek_workloads.launch.ray_node"
# Ray's object store holds the train function and small results only; data streams from object storage.
# Ray refuses less than 75 MiB.
HEAD_OBJECT_STORE_BYTES = 80 * 2**20
WORKER_OBJECT_STORE_BYTES = 128 * 2**20
_FIRST, _LAST = environment.RAY_PORT_RANGE
_DAEMONS: Final = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "metrics-export-port",
)
# What Ray's processes have imported while the driver is still starting: on the head its controller, on a
# worker the ranks or tasks. Not for serving: a proxy would take the process that is meant for the replica.
_CONTROLLER_MODULES: Final = {
    "training": ("deepseek_workloads.launch.trainer",),
    "dataset": (),
    "serving": (),
}
_TASK_MODULES: Final = {
    "training": (
        "ray.train.v2._internal.execution.worker_group.worker",
        "deepseek_workloads.launch.rank",
        "deepseek_workloads.train.loop",
        "deepseek_workloads.store.s3",
        "torch._dynamo",  # a second's import, at the first DTensor of a process
    ),
    "dataset": ("deepseek_workloads.data.prepare.pipeline",),
    "serving": (),
}
_BLOCKS: Final = 20  # of daemons' ports, one after the other
_FIRST_WORKER_PORT: Final = _FIRST + _BLOCKS * len(_DAEMONS)


def port_flags(start: int) -> dict[str, int]:
    """Ports of the `start`-th Ray node of a pod. A node that died keeps its ports for a while: the GCS asks
    at its address whether it lives, and its successor must not be the one that answers."""
    first = _FIRST + start % _BLOCKS * len(_DAEMONS)
    daemons = {name: first + number for number, name in enumerate(_DAEMONS)}
    return daemons | {"min-worker-port": _FIRST_WORKER_PORT, "max-worker-port": _LAST}


def head_arguments(run: AnyRun, *, pod_ip: str) -> list[str]:
    """Arguments of `ray start` on the coordinator. It offers no CPU: just the controller runs there. A head
    is a new cluster, which remembers no node."""
    return [
        "--head",
        f"--node-ip-address={pod_ip}",
        f"--port={environment.RAY_PORT}",
        "--num-cpus=0",
        "--num-gpus=0",
        f"--object-store-memory={HEAD_OBJECT_STORE_BYTES}",
        "--include-dashboard=false",
        "--no-monitor",  # the autoscaler: pods are the operator's business
        *_preload(_CONTROLLER_MODULES[run.kind]),
        *_common_arguments(),
        *_flags(port_flags(0)),
    ]


def worker_arguments(run: AnyRun, *, pod_ip: str, head_ip: str, start: int = 0) -> list[str]:
    """Arguments of `ray start` on a worker: as many CPUs as it has places for processes of ours.

    `start` counts Ray's starts in this pod.
    """
    return [
        f"--address={head_ip}:{environment.RAY_PORT}",
        f"--node-ip-address={pod_ip}",
        f"--num-cpus={places_per_node(run)}",
        f"--num-gpus={run.workers.gpus_per_node}",
        f"--object-store-memory={WORKER_OBJECT_STORE_BYTES}",
        *_preload(_TASK_MODULES[run.kind]),
        *_common_arguments(),
        *_flags(port_flags(start)),
    ]


def places_per_node(run: AnyRun) -> int:
    """A rank is one Ray CPU, so that exactly `num_proc_per_node` ranks fit on a node, and so is a replica.
    A dataset's task is one real CPU."""
    if isinstance(run, DatasetRun):
        return max(1, int(run.workers.cpus_per_node))
    return run.workers.num_proc_per_node


def ray_environment(run: AnyRun, *, token: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of every Ray process and of the driver, on top of the pod's own."""
    return {
        "OMP_NUM_THREADS": str(_threads_per_process(run)),
        **environ,
        "RAY_AUTH_MODE": "token",
        environment.RAY_AUTH_TOKEN: token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_BACKEND_LOG_LEVEL": environ.get("RAY_BACKEND_LOG_LEVEL", "error"),
        "RAY_LOGGER_LEVEL": environ.get("RAY_LOGGER_LEVEL", "warning"),
        "RAY_enable_metrics_collection": "0",
        "RAY_event_log_reporter_enabled": "0",
        # A pod on a busy node may need long to import; the default of 30 s makes its raylet give up.
        "RAY_agent_register_timeout_ms": "120000",
        # A node that has just joined retries a lost object pull after this long; the default is 10 s.
        "RAY_object_manager_pull_timeout_ms": "500",
        # Out of memory is the kernel's verdict: it is visible on the pod, and Ray's own killer would hide it.
        "RAY_memory_monitor_refresh_ms": "0",
        # The processes that wait with everything imported are not to be ended because they wait.
        "RAY_idle_worker_killing_time_threshold_ms": str(24 * 3600 * 1000),
        "RAY_worker_niceness": "0",  # the default of 15 puts the ranks behind everything else of the machine
        # A node that does not answer is lost after about 10 s (the default is up to 30 s).
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "5",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(_drain_seconds_of_ray(run)),
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        # Ranks learn of a drain from their supervisor's file and agree by a collective: no watcher process.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        # Ray Train would set it in environments that Ray makes for its processes; pods have one of their own.
        "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        **(_serve_environment(run) if isinstance(run, ServingRun) else {}),
    }


def _drain_seconds_of_ray(run: AnyRun) -> int:
    """Ray always drains to the end of this time, idle or not; a serving pod has let its clients go before."""
    return 0 if isinstance(run, ServingRun) else run.run_policy.drain_seconds


def _serve_environment(run: ServingRun) -> dict[str, str]:
    """Ray Serve reads it in every process: controller, proxies, replicas."""
    environ = {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deepseek_workloads.launch.serve_proxy.middlewares",
        # A proxy that died is found by its health check only; the defaults (10 s each) leave its port closed
        # for more than 17 s.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
    }
    if run.proxy == "haproxy":
        environ |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        }
    return environ


def _common_arguments() -> list[str]:
    # Output goes to the pod's own stdout (`kubectl logs`), so nothing has to copy log files to the driver.
    return [
        "--disable-usage-stats",
        "--include-log-monitor=false",
        "--no-redirect-output",
        "--log-style=record",
        "--log-color=false",
        "--block",
    ]


def _preload(modules: Sequence[str]) -> list[str]:
    return [f"--preload={','.join(modules)}"] if modules else []


def _flags(flags: Mapping[str, int]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _threads_per_process(run: AnyRun) -> int:
    return max(1, int(run.workers.cpus_per_node / places_per_node(run)))
