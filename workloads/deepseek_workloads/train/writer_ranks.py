"""The ranks that write a checkpoint, joined apart from those that train: their collectives run beside a step.

A second group over the same ranks, on the CPU whatever they train on. Where every rank holds the whole state
(one rank, or Horovod's), rank 0 alone writes. It does not know what is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from deepseek_workloads.train.group import Group


class WriterRanks(ABC):
    """Every method is a collective: all its ranks call it in the same order, one thread of each at a time.

    Values travel as pickles between processes of this run only.
    """

    rank: int

    @abstractmethod
    def any(self, flag: bool) -> bool:
        """Whether it is true on some rank."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """By rank, on rank 0; elsewhere empty."""

    @abstractmethod
    def scatter(self, values: Sequence[Any]) -> Any:
        """To each rank its own of rank 0's values; those of the others count for nothing."""

    @abstractmethod
    def from_rank_zero(self, value: Any) -> Any: ...

    @abstractmethod
    def close(self) -> None: ...


def writer_ranks(group: Group) -> WriterRanks | None:
    """A collective of `group`. None: this rank writes nothing."""
    if group.torch_distributed:
        return _TorchRanks(group.rank, dist.new_group(backend="gloo"))
    return _OneRank() if group.rank == 0 else None


@dataclass(frozen=True)
class _OneRank(WriterRanks):
    rank: int = 0

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def scatter(self, values: Sequence[Any]) -> Any:
        return values[0]

    def from_rank_zero(self, value: Any) -> Any:
        return value

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class _TorchRanks(WriterRanks):
    rank: int
    _group: dist.ProcessGroup

    def any(self, flag: bool) -> bool:
        raised = torch.tensor([int(flag)])
        dist.all_reduce(raised, op=dist.ReduceOp.MAX, group=self._group)
        return bool(raised.item())

    def gather(self, value: Any) -> list[Any]:
        gathered: list[Any] = [None] * self._group.size() if self.rank == 0 else []
        dist.gather_object(value, gathered or None, dst=0, group=self._group)
        return gathered

    def scatter(self, values: Sequence[Any]) -> Any:
        own: list[Any] = [None]
        dist.scatter_object_list(own, list(values) if self.rank == 0 else None, src=0, group=self._group)
        return own[0]

    def from_rank_zero(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def close(self) -> None:
        dist.destroy_process_group(self._group)
