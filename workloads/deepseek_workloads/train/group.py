"""The ranks of a run as one: what they sum, what rank 0 decides for all, and the device of each.

With one rank and no process group everything here is local. It does not know models or checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")


class NoDevice(RuntimeError):
    """The run asks for a GPU and this process sees none."""


def choose_device(*, gpus: int, local_rank: int) -> torch.device:
    """`gpus`: of a node, as the run asks for. A launcher may show a process its own GPU only, or all."""
    if gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NoDevice(
            f"workers.resources.gpu is {gpus}, but CUDA sees no device in this pod: "
            "check the node's driver and device plugin, or set gpu to 0 to train on CPUs"
        )
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


@dataclass(frozen=True)
class Group:
    rank: int
    world_size: int
    device: torch.device

    def __post_init__(self) -> None:
        if self.world_size > 1 and not dist.is_initialized():
            raise ValueError(f"{self.world_size} ranks, but torch.distributed is not initialised")

    @property
    def data_path(self) -> Literal["gloo", "nccl", ""]:
        if self.world_size == 1:
            return ""
        return "nccl" if self.device.type == "cuda" else "gloo"

    def sum(self, values: Tensor) -> Tensor:
        """In place, over the ranks; every rank has the same bits afterwards."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """[n] of each rank -> [world_size * n], by rank."""
        if self.world_size == 1:
            return values
        gathered = values.new_empty(self.world_size * values.numel())
        dist.all_gather_single(gathered, values)
        return gathered

    def on_rank_zero(self, work: Callable[[], Result]) -> Result:
        """Every rank gets rank 0's result, or raises its error. A collective; results travel as pickles
        between processes of this run only."""
        if self.world_size == 1:
            return work()
        outcome: list[Result | Exception | None] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = work()
            except Exception as error:
                dist.broadcast_object_list([None, _portable(error)], src=0, device=self.device)
                raise
        dist.broadcast_object_list(outcome, src=0, device=self.device)
        result, failure = outcome
        if isinstance(failure, Exception):
            raise failure
        return result  # type: ignore[return-value] # rank 0 has put its Result there


def _portable(error: Exception) -> Exception:
    """Without causes and tracebacks, which may hold what cannot travel."""
    try:
        return type(error)(*error.args)
    except TypeError:
        return RuntimeError(f"{type(error).__name__}: {error}")
