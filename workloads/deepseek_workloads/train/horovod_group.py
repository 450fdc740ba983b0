"""Ranks that Horovod joins: the collectives of a `Group`, and gradients averaged in buckets.

`horovod.torch` is initialised by the launcher. Data parallel only: every rank has the whole model. It does
not know who started the ranks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from deepseek_workloads.train.group import DataPath, Group

Compression = Literal["none", "fp16"]
# One reduction for this many bytes of float32: large enough for bandwidth, small enough that the first one
# begins while the backward pass still computes the next. DDP's default, too.
BUCKET_BYTES = 25 * 2**20


@dataclass(frozen=True)
class HorovodGroup(Group):
    compression: Compression = "none"
    bucket_bytes: int = BUCKET_BYTES

    def __post_init__(self) -> None:
        """Without its environment Horovod runs every process alone, as a group of one, and says nothing."""
        if (hvd.rank(), hvd.size()) != (self.rank, self.world_size):
            raise ValueError(
                f"rank {self.rank} of {self.world_size}: Horovod was initialised as rank {hvd.rank()} of "
                f"{hvd.size()}; its HOROVOD_* environment is set by the launcher"
            )

    @property
    def data_path(self) -> DataPath:
        if self.world_size == 1:
            return ""
        return "nccl" if self.device.type == "cuda" and hvd.nccl_built() else "gloo"

    def sum(self, values: Tensor) -> Tensor:
        hvd.allreduce_(values, op=hvd.Sum, name=f"sum.{_kind(values)}")
        return values

    def gather(self, values: Tensor) -> Tensor:
        gathered: Tensor = hvd.allgather(values, name=f"gather.{_kind(values)}")
        return gathered

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        handles = [
            hvd.broadcast_async_(tensor, 0, name=f"broadcast.{number}")
            for number, tensor in enumerate(tensors)
        ]
        for handle in handles:
            hvd.synchronize(handle)

    def _from_rank_zero(self, value: object) -> object:
        received: object = hvd.broadcast_object(value, root_rank=0, name="object")
        return received

    def gradient_average(self, parameters: Iterable[nn.Parameter]) -> "BucketedAverage | None":
        if self.world_size == 1:
            return None
        return BucketedAverage(
            [p for p in parameters if p.requires_grad],
            compression=self.compression,
            bucket_bytes=self.bucket_bytes,
        )


class BucketedAverage:
    """A `GradientAverage`. Each bucket is sent as soon as the last pass has finished its gradients.

    Gradients travel as float32 whatever their dtype (Horovod knows no bfloat16), or as float16 when
    compressed; they are summed in that type and divided after. Needs memory for a copy of all gradients.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        compression: Compression,
        bucket_bytes: int,
    ) -> None:
        self._dtype = torch.float16 if compression == "fp16" else torch.float32
        # The backward pass comes to the last layers first.
        self._buckets = split_into_buckets(list(reversed(parameters)), bucket_bytes=bucket_bytes)
        self._missing: list[int] = []  # gradients of each bucket that the last pass has not finished
        self._sent: dict[int, tuple[int, Tensor]] = {}  # by bucket: Horovod's handle, and what it works on
        for number, bucket in enumerate(self._buckets):
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(self._hook(number))  # type: ignore[no-untyped-call]

    @contextmanager
    def one_pass(self, *, last: bool) -> Iterator[None]:
        self._missing = [len(bucket) for bucket in self._buckets] if last else []
        try:
            yield
        finally:
            self._missing = []
        if last:
            self._finish()

    def _hook(self, number: int) -> Callable[[Tensor], None]:
        def finished(_: Tensor) -> None:
            if not self._missing:
                return
            self._missing[number] -= 1
            if self._missing[number] == 0:
                self._send(number)

        return finished

    def _send(self, number: int) -> None:
        flat = torch.cat([_gradient(p).to(self._dtype).flatten() for p in self._buckets[number]])
        handle = hvd.allreduce_async_(flat, name=f"gradients.{number}", op=hvd.Average)
        self._sent[number] = (handle, flat)

    def _finish(self) -> None:
        """Waits for all. Every rank alike sends here what no pass has completed."""
        for number in range(len(self._buckets)):
            if number not in self._sent:
                self._send(number)
        for number, bucket in enumerate(self._buckets):
            handle, flat = self._sent.pop(number)
            hvd.synchronize(handle)
            at = 0
            for parameter in bucket:
                gradient = _gradient(parameter)
                gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
                at += gradient.numel()


def _kind(values: Tensor) -> str:
    """A name that comes again at the next step: Horovod agrees faster on tensors that it knows by name."""
    return f"{values.dtype}.{values.numel()}"


def split_into_buckets(parameters: Sequence[nn.Parameter], *, bucket_bytes: int) -> list[list[nn.Parameter]]:
    """In their order; each but the last has at least `bucket_bytes` of float32."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in parameters:
        if room <= 0:
            buckets.append([])
            room = bucket_bytes
        buckets[-1].append(parameter)
        room -= 4 * parameter.numel()
    return buckets


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Zeros where no pass has used the parameter."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
