"""Weights from an export straight into the shards that a rank holds: no rank reads more than its part, and
none holds more than a few pieces of it beside.

Every file is held against its checksum too, by one of the ranks, in pieces. Nothing is loaded when a tensor
is missing, too many or of another shape; where one holds NaN, or a file is not what the manifest says, the
model must not be used: all ranks raise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.data.checksum import object_checksum_of_parts
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.safetensors_index import SafetensorsError, StoredTensor, stored_tensors
from deepseek_workloads.export.stored_numbers import numbers
from deepseek_workloads.plan.hugging_face_names import Place
from deepseek_workloads.plan.initial_model_rules import architecture_problem
from deepseek_workloads.plan.stored_tensors import Comparison, compare
from deepseek_workloads.plan.tensors import buffer_shapes, parameter_shapes
from deepseek_workloads.plan.vision_checkpoint import compare_vision
from deepseek_workloads.store.interface import (
    BATCH_BYTES,
    ByteRange,
    ObjectInfo,
    ObjectStore,
    StoreError,
    parts_of,
)

SHARE_OF_SHARD = 8  # and no more than this part of what the rank holds
_NAMED = 8  # tensors in a message
_WIDENED = 8  # bytes that a number of one byte and its factor become
_OF_TRAINING = (".expert_frequency", ".lora_A", ".lora_B")  # what an export does not hold


@dataclass(frozen=True)
class Box:
    """A part of a tensor: where it begins and how long it is, by dimension."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    def meet(self, other: "Box") -> "Box | None":
        """What both cover."""
        starts = tuple(map(max, self.offset, other.offset))
        ends = [
            min(a + n, b + m)
            for a, n, b, m in zip(self.offset, self.shape, other.offset, other.shape, strict=True)
        ]
        shape = tuple(end - start for start, end in zip(starts, ends, strict=True))
        return Box(starts, shape) if all(size > 0 for size in shape) else None

    def within(self, other: "Box") -> tuple[slice, ...]:
        """This part as indices of `other`, which covers it."""
        return tuple(
            slice(start - origin, start - origin + size)
            for start, origin, size in zip(self.offset, other.offset, self.shape, strict=True)
        )


@dataclass(frozen=True)
class Piece:
    """Rows of a stored tensor that a rank needs, and where they go."""

    name: str  # on disk
    stored: StoredTensor
    source: ByteRange
    scales: ByteRange | None  # where what is stored has factors
    first: int  # row
    columns: tuple[slice, ...]  # of the other dimensions
    target: Tensor  # the slice of the local shard


class Agreement(Protocol):
    """Of the ranks that load together: `train.group.Group`."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def sum(self, values: Tensor) -> Tensor: ...


class WeightSource(Protocol):
    """A Hugging Face folder: an `ExportReader`, or a `FolderReader` without a manifest."""

    @property
    def store(self) -> ObjectStore: ...

    @property
    def uri(self) -> str: ...

    def architecture(self) -> Architecture: ...

    def weights(self) -> list[ObjectInfo]:
        """The safetensors files. Raises ExportError and StoreErrors."""
        ...

    def checksums(self) -> Mapping[str, str]:
        """Recorded ones of these files, by key; none where nothing is recorded."""
        ...


class WeightStream:
    def __init__(self, source: WeightSource, model: nn.Module, architecture: Architecture) -> None:
        """`model` may be a stage of a pipeline, which takes what it has. `architecture` is the whole's; the
        folder's may lack an indexer or eyes, and have more modules for more than the next token. Raises
        ExportError when it computes something else, and when tensors are missing, too many or of other
        shapes."""
        self._source, self._architecture = source, architecture
        self._targets = _targets(model)
        try:
            self._files = source.weights()
            self._stored = stored_tensors(source.store, self._files)
        except SafetensorsError as error:
            raise ExportError(str(error)) from error
        self._places = self._checked_places()

    @property
    def taken(self) -> frozenset[str]:
        """The names of what this rank takes from there, whole or its shard."""
        return frozenset(place.parameter for place in self._places.values()) & self._targets.keys()

    def load(self) -> Iterator[str]:
        """Copies every part of this rank; yields the names on disk of tensors that are not finite."""
        held = sum(_local(target).numel() * _local(target).itemsize for target in self._targets.values())
        limit = max(1, min(BATCH_BYTES, held // SHARE_OF_SHARD))
        for batch in _batches(self._pieces(limit), limit):
            contents = self._source.store.read_ranges([piece.source for piece in batch])
            factors = self._source.store.read_ranges([piece.scales for piece in batch if piece.scales])
            for piece, content in zip(batch, contents, strict=True):
                yield from _copy(piece, content, factors.pop(0) if piece.scales else None)

    def damaged(self, *, rank: int, world_size: int) -> Iterator[str]:
        """Of the files that fall to this rank those that are not what is recorded of them."""
        recorded = self._source.checksums()
        for file in self._files[rank::world_size]:
            if file.key not in recorded:
                continue
            found = object_checksum_of_parts(parts_of(self._source.store, file))
            if found != recorded[file.key]:
                yield f"{file.key} has {found}, the manifest says {recorded[file.key]}"

    def _checked_places(self) -> Mapping[str, Place]:
        """By name on disk. Every number of every target must come from somewhere."""
        found = self._compared({name: stored.shape for name, stored in self._stored.items()})
        if found.problem:
            raise ExportError(
                f"{self._source.uri}: its tensors are not those of its architecture: {found.problem}; name "
                "its own preset and values, or another model"
            )
        return found.places

    def _compared(self, stored: Mapping[str, tuple[int, ...]]) -> Comparison:
        theirs, mine = self._source.architecture(), self._architecture
        problem = architecture_problem(mine, theirs, uri=self._source.uri.rstrip("/"))
        if problem is not None:
            raise ExportError(problem)
        return compare(
            stored,
            {
                **parameter_shapes(mine),
                **buffer_shapes(mine),
                **{name: tuple(target.shape) for name, target in self._targets.items()},
            },
            architecture=mine,
            theirs=theirs,
        )

    def _pieces(self, limit: int) -> Iterator[Piece]:
        for name, place in self._places.items():
            target, stored = self._targets.get(place.parameter), self._stored[name]
            if target is None:  # of another stage
                continue
            mine = _box(target)
            whole = Box(place.offset, place.shape)
            part = None if mine is None else mine.meet(whole)
            if mine is None or part is None:
                continue
            local = _local(target)[part.within(mine)].reshape(_on_disk(part.shape, place))
            indices = part.within(whole)[len(place.shape) - len(stored.shape) :]
            first, last = indices[0].start, indices[0].stop
            widened = _WIDENED if stored.scales is not None else 1
            step = max(1, limit // max(1, stored.row_bytes * widened))
            for start in range(first, last, step):
                stop = min(start + step, last)
                rows = stored.rows(start, stop)
                goes_to = local[start - first : stop - first]
                scales = None if stored.scales is None else stored.scale_rows(start, stop)
                yield Piece(name, stored, rows, scales, start, indices[1:], goes_to)


class VisionStream(WeightStream):
    """The weights of an image encoder, of a Hugging Face ViT folder."""

    def _compared(self, stored: Mapping[str, tuple[int, ...]]) -> Comparison:
        return compare_vision(stored, self._architecture)


def _targets(model: nn.Module) -> dict[str, Tensor]:
    """What an export holds of a model: not what only training knows."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in named if not name.endswith(_OF_TRAINING)}


def _local(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    return detached.to_local() if isinstance(detached, DTensor) else detached


def _box(tensor: Tensor) -> Box | None:
    """Of the local shard; None where this rank holds nothing of it."""
    if not isinstance(tensor, DTensor):
        return Box((0,) * tensor.ndim, tuple(tensor.shape))
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Box(tuple(offset), tuple(shape)) if all(shape) else None


def _on_disk(shape: tuple[int, ...], place: Place) -> tuple[int, ...]:
    """Without the dimension of experts, which are single there."""
    return shape[1:] if place.single else shape


def _batches(pieces: Iterator[Piece], limit: int) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        more = piece.source.end - piece.source.start
        if batch and size + more > limit:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += more
    if batch:
        yield batch


@torch.no_grad()
def _copy(piece: Piece, content: bytes, scales: bytes | None) -> Iterator[str]:
    rows = numbers(piece.stored, content, scales, first=piece.first)[(slice(None), *piece.columns)]
    if not bool(torch.isfinite(rows).all()):
        yield piece.name
    piece.target.copy_(rows)


def load_weights(
    source: WeightSource, model: nn.Module, architecture: Architecture, *, group: Agreement
) -> frozenset[str]:
    """A collective: into the parameters of every rank, plain tensors or DTensors. Returns the names of this
    rank's; what the source lacks stays as it is. Raises ExportError on every rank when one finds a reason."""
    return _load(WeightStream, source, model, architecture, group=group)


def load_vision_weights(
    source: WeightSource, model: nn.Module, architecture: Architecture, *, group: Agreement
) -> None:
    """As `load_weights`, of the image encoder alone."""
    _load(VisionStream, source, model, architecture, group=group)


def _load(
    kind: type[WeightStream],
    source: WeightSource,
    model: nn.Module,
    architecture: Architecture,
    *,
    group: Agreement,
) -> frozenset[str]:
    found: list[str] = []
    try:
        stream = kind(source, model, architecture)
        found += [f"{name} holds NaN or infinite numbers" for name in stream.load()]
        found += stream.damaged(rank=group.rank, world_size=group.world_size)
    except (ExportError, StoreError) as error:
        group.sum(torch.ones(1, device=group.device))
        raise error
    failed = group.sum(torch.tensor([float(bool(found))], device=group.device))
    if found:
        raise ExportError(f"{source.uri}: {'; '.join(dict.fromkeys(found[:_NAMED]))}: write the model again")
    if failed.item():
        raise ExportError(f"{source.uri}: another rank found it damaged; its log says where")
    return stream.taken
