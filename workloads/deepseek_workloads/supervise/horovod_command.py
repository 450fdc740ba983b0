"""Command line and environment of Horovod's processes on a pod. Pure; it starts nothing and imports no
Horovod."""

from collections.abc import Mapping

from deepseek_workloads.contract.run_config import TrainingRun

PYTHON_MODULE_NODE = "deepseek_workloads.launch.horovod_node"


def node_arguments(*, run_config: str, coordinator_ip: str) -> list[str]:
    """Of the process on a worker that starts its ranks."""
    return [f"--run-config={run_config}", f"--coordinator-ip={coordinator_ip}"]


def horovod_environment(run: TrainingRun, *, environ: Mapping[str, str]) -> dict[str, str]:
    """Of every process of ours; what the pod itself sets wins."""
    return {
        "OMP_NUM_THREADS": str(max(1, int(run.workers.cpus_per_node / run.workers.num_proc_per_node))),
        # For a peer that does not come to the rendezvous, or freezes within a collective (the default of 30
        # s is less than a busy node needs for its imports).
        "HOROVOD_GLOO_TIMEOUT_SECONDS": "120",
        # For a peer that lives, but does not come to a collective; rank 0 may work that long alone, on an
        # export.
        "HOROVOD_STALL_CHECK_TIME_SECONDS": "60",
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "600",
        # Gradients come in buckets already. Fused by chance of timing, sums of more than two ranks would not
        # be the same in every run.
        "HOROVOD_FUSION_THRESHOLD": "0",
        **environ,
    }
