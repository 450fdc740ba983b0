"""The ranks that write a checkpoint, joined apart from those that train: their collectives run beside a step.
Those that load one from the pods' memory are joined in the same way.

A second group over the same ranks, on the CPU whatever they train on. Where every rank holds the whole state
(one rank, or Horovod's), rank 0 alone writes. It does not know what is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from deepseek_workloads.train.group import Group
from deepseek_workloads.train.replicas.transfers import Rounds, Transfer


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
    def gather_all(self, value: Any) -> list[Any]:
        """By rank, on every rank."""

    @abstractmethod
    def move(
        self, rounds: Rounds, read: Callable[[Transfer], bytes]
    ) -> Iterator[tuple[Transfer, memoryview]]:
        """What this rank gets of `rounds`, which are the same on every rank, in their order; `read` gives
        what it sends. To be taken to its end."""

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

    def gather_all(self, value: Any) -> list[Any]:
        return [value]

    def move(
        self, rounds: Rounds, read: Callable[[Transfer], bytes]
    ) -> Iterator[tuple[Transfer, memoryview]]:
        """There is nobody else."""
        for transfer in (transfer for each in rounds for transfer in each):
            yield transfer, memoryview(read(transfer))

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

    def gather_all(self, value: Any) -> list[Any]:
        gathered: list[Any] = [None] * self._group.size()
        dist.all_gather_object(gathered, value, group=self._group)
        return gathered

    def move(
        self, rounds: Rounds, read: Callable[[Transfer], bytes]
    ) -> Iterator[tuple[Transfer, memoryview]]:
        tag = 0
        for transfers in rounds:
            received, sent, waiting = [], [], []
            for transfer in transfers:
                tag += 1
                if transfer.target == self.rank:
                    content = torch.empty(transfer.end - transfer.start, dtype=torch.uint8)
                    waiting.append(dist.irecv(content, transfer.source, group=self._group, tag=tag))
                    received.append((transfer, content))
                if transfer.source == self.rank:
                    sent.append(torch.frombuffer(bytearray(read(transfer)), dtype=torch.uint8))
                    waiting.append(dist.isend(sent[-1], transfer.target, group=self._group, tag=tag))
            for work in waiting:
                assert work is not None  # this rank belongs to the group
                work.wait()
            yield from ((transfer, content.numpy().data) for transfer, content in received)

    def close(self) -> None:
        dist.destroy_process_group(self._group)
