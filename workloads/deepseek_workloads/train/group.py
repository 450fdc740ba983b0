"""The ranks of a run as one: what they sum, what rank 0 decides for all, and the device of each.

`LocalGroup` is one rank, `TorchGroup` several that torch.distributed joins; `horovod_group` has a third kind.
It does not know models or checkpoints.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

Result = TypeVar("Result")
DataPath = Literal["gloo", "nccl", ""]


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


class GradientAverage(Protocol):
    """Averages the gradients of parameters over the ranks, where no wrapper around the model does."""

    def one_pass(self, *, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch. After the `last` one of a step every rank has the
        same mean gradients."""
        ...


@dataclass(frozen=True)
class Group(ABC):
    """Every method is a collective: all ranks call it, in the same order."""

    rank: int
    world_size: int
    device: torch.device

    @property
    @abstractmethod
    def data_path(self) -> DataPath:
        """What carries the collectives; empty for one rank."""

    @property
    def torch_distributed(self) -> bool:
        """Whether torch.distributed joins the ranks: then DDP, FSDP and DCP do their own collectives."""
        return False

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """In place, over the ranks; every rank has the same bits afterwards."""

    @abstractmethod
    def gather(self, values: Tensor) -> Tensor:
        """[n] of each rank -> [world_size * n], by rank."""

    @abstractmethod
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Rank 0's values into those of every rank, in place."""

    @abstractmethod
    def _from_rank_zero(self, value: object) -> object:
        """Rank 0's value on every rank; it travels as a pickle between processes of this run only."""

    def on_rank_zero(self, work: Callable[[], Result]) -> Result:
        """Every rank gets rank 0's result, or raises its error."""
        outcome: tuple[Result | None, Exception | None] | None = None
        if self.rank == 0:
            try:
                outcome = (work(), None)
            except Exception as error:
                self._from_rank_zero((None, portable(error)))
                raise
        received: Any = self._from_rank_zero(outcome)
        result, failure = received
        if isinstance(failure, Exception):
            raise failure
        return cast(Result, result)

    def gradient_average(self, parameters: Iterable[nn.Parameter]) -> GradientAverage | None:  # noqa: ARG002
        """None: one rank has nothing to average, and torch.distributed's ranks wrap the model instead."""
        return None


@dataclass(frozen=True)
class LocalGroup(Group):
    """One rank, in this process."""

    @property
    def data_path(self) -> DataPath:
        return ""

    def sum(self, values: Tensor) -> Tensor:
        return values

    def gather(self, values: Tensor) -> Tensor:
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        pass

    def _from_rank_zero(self, value: object) -> object:
        return value


@dataclass(frozen=True)
class TorchGroup(Group):
    """The default process group of torch.distributed."""

    def __post_init__(self) -> None:
        if not dist.is_initialized():
            raise ValueError(f"{self.world_size} ranks, but torch.distributed is not initialised")

    @property
    def data_path(self) -> DataPath:
        return "nccl" if self.device.type == "cuda" else "gloo"

    @property
    def torch_distributed(self) -> bool:
        return True

    def sum(self, values: Tensor) -> Tensor:
        dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        gathered = values.new_empty(self.world_size * values.numel())
        dist.all_gather_single(gathered, values)
        return gathered

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def _from_rank_zero(self, value: object) -> object:
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


def torch_group(rank: int, world_size: int, device: torch.device) -> Group:
    """Of ranks that torch.distributed joins; the launcher has initialised it where there are several."""
    group = LocalGroup if world_size == 1 else TorchGroup
    return group(rank, world_size, device)


def portable(error: Exception) -> Exception:
    """Without causes and tracebacks, which may hold what cannot travel."""
    try:
        return type(error)(*error.args)
    except TypeError:
        return RuntimeError(f"{type(error).__name__}: {error}")
