"""Ray Train's way to a torch.distributed process group, with torch in the ranks' processes only.

Ray Train's own `TorchConfig` imports torch wherever it is unpickled: in the driver and in the controller too,
which a start waits for one after the other. It does not know what the ranks then do.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import ray.train
from ray.exceptions import GetTimeoutError, RayError
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

from deepseek_workloads.contract.run_config import TrainingRun

LEAVE_SECONDS = 30.0  # for peers that are still there; a group that is broken is not waited for


@dataclass
class ProcessGroupConfig(BackendConfig):  # type: ignore[misc]
    backend: str  # `backend_of` a run
    timeout_seconds: float  # of a collective

    @property
    def backend_cls(self) -> type[Backend]:
        return ProcessGroupBackend


class ProcessGroupBackend(Backend):  # type: ignore[misc]
    share_cuda_visible_devices = True  # peers on a node see each other's GPUs: NCCL copies between them

    def on_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        address, port = worker_group.execute_single(0, get_address_and_port)
        ray.get(
            worker_group.execute_async(
                join,
                address=address,
                port=port,
                backend=backend_config.backend,
                timeout_seconds=backend_config.timeout_seconds,
            )
        )

    def on_shutdown(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:  # noqa: ARG002
        try:
            ray.get(worker_group.execute_async(leave), timeout=LEAVE_SECONDS)
        except (GetTimeoutError, RayError) as error:
            print(f"the process group was not left in order: {error}", flush=True)


def backend_of(run: TrainingRun) -> str:
    """Shards of `cpuOffload` lie in the host's memory, where NCCL does not reach: what is gathered there, as
    by Muon, goes by gloo (https://docs.pytorch.org/docs/stable/distributed.html, `init_process_group`)."""
    if not run.workers.gpus_per_node:
        return "gloo"
    return "cpu:gloo,cuda:nccl" if run.training.parallelism.cpu_offload else "nccl"


def join(*, address: str, port: int, backend: str, timeout_seconds: float) -> None:
    """In a rank's process. The environment is torchrun's
    (https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables)."""
    import torch.distributed

    place = ray.train.get_context()
    os.environ |= {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "RANK": str(place.get_world_rank()),
        "WORLD_SIZE": str(place.get_world_size()),
        "LOCAL_RANK": str(place.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(place.get_local_world_size()),
        "GROUP_RANK": str(place.get_node_rank()),
    }
    torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))


def leave() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
