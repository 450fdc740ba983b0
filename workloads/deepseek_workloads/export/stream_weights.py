"""Weights from an export straight into the shards that a rank holds: no rank reads more than its part, and
none holds more than a few pieces of it beside.

Every file is held against its checksum too, by one of the ranks, in pieces. Nothing is loaded when a tensor
is missing, too many or of another shape; where one holds NaN, or a file is not what the manifest says, the
model must not be used: all ranks raise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.data.checksum import object_checksum_of_parts
from deepseek_workloads.export.load import ExportError, ExportReader
from deepseek_workloads.export.safetensors_index import SafetensorsError, StoredTensor, stored_tensors
from deepseek_workloads.model.hugging_face import Place, place_of
from deepseek_workloads.store.interface import ByteRange, ObjectInfo, ObjectStore, StoreError

BATCH_BYTES = 32 * 1024 * 1024  # asked for at a time
SHARE_OF_SHARD = 8  # and no more than this part of what the rank holds
_NAMED = 8  # tensors in a message


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
    rows: int
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


class WeightStream:
    def __init__(self, reader: ExportReader, model: nn.Module, architecture: Architecture) -> None:
        """`architecture` of the model; that of the export may lack an indexer, and have more modules for more
        than the next token. Raises ExportError when tensors are missing, too many or of other shapes."""
        self._reader, self._architecture, self._theirs = reader, architecture, reader.architecture()
        self._targets = _targets(model)
        try:
            files = [reader.info(entry) for entry in _weight_files(reader)]
            self._stored = stored_tensors(reader.store, files)
        except SafetensorsError as error:
            raise ExportError(str(error)) from error
        self._places = self._checked_places()

    def load(self) -> Iterator[str]:
        """Copies every part of this rank; yields the names on disk of tensors that are not finite."""
        held = sum(_local(target).numel() * _local(target).itemsize for target in self._targets.values())
        limit = max(1, min(BATCH_BYTES, held // SHARE_OF_SHARD))
        for batch in _batches(self._pieces(limit), limit):
            contents = self._reader.store.read_ranges([piece.source for piece in batch])
            for piece, content in zip(batch, contents, strict=True):
                yield from _copy(piece, content)

    def damaged(self, *, rank: int, world_size: int) -> Iterator[str]:
        """Of the files that fall to this rank those that are not what the manifest says."""
        for entry in _weight_files(self._reader)[rank::world_size]:
            parts = _in_parts(self._reader.store, self._reader.info(entry))
            found = object_checksum_of_parts(parts)
            if found != entry.checksum:
                yield f"{entry.key} has {found}, the manifest says {entry.checksum}"

    def _checked_places(self) -> dict[str, Place]:
        """By name on disk. Every number of every target must come from somewhere."""
        places, wrong = {}, []
        for name, stored in self._stored.items():
            place = place_of(name, stored.shape, self._architecture)
            if place is None:
                continue
            target = self._targets.get(place.parameter)
            if target is None or not _fits(place, target):
                expected = "no such tensor" if target is None else f"{list(target.shape)}"
                wrong.append(f"{name} of {list(stored.shape)} (the model has {expected})")
            places[name] = place
        missing = self._missing(places.values())
        if wrong or missing:
            raise ExportError(
                f"{self._reader.uri}: its tensors are not those of spec.model: "
                + "; ".join(
                    f"{len(names)} {what}: {', '.join(names[:_NAMED])}"
                    for what, names in (("missing", missing), ("too many or of another shape", wrong))
                    if names
                )
                + "; name the export's own preset and values, or another export"
            )
        return places

    def _missing(self, places: Iterable[Place]) -> list[str]:
        covered: dict[str, int] = {}
        for place in places:
            numbers = torch.Size(place.shape).numel()
            covered[place.parameter] = covered.get(place.parameter, 0) + numbers
        return [
            name
            for name, target in self._targets.items()
            if covered.get(name, 0) < target.numel() and not self._may_lack(name)
        ]

    def _may_lack(self, name: str) -> bool:
        """An indexer that is added to a model begins to learn."""
        return ".indexer." in name and self._theirs.indexer is None

    def _pieces(self, limit: int) -> Iterator[Piece]:
        for name, place in self._places.items():
            target, stored = self._targets[place.parameter], self._stored[name]
            mine = _box(target)
            whole = Box(place.offset, place.shape)
            part = None if mine is None else mine.meet(whole)
            if mine is None or part is None:
                continue
            local = _local(target)[part.within(mine)].reshape(_on_disk(part.shape, place))
            indices = part.within(whole)[len(place.shape) - len(stored.shape) :]
            first, last = indices[0].start, indices[0].stop
            step = max(1, limit // max(1, stored.row_bytes))
            for start in range(first, last, step):
                stop = min(start + step, last)
                rows = stored.rows(start, stop)
                goes_to = local[start - first : stop - first]
                yield Piece(name, stored, rows, stop - start, indices[1:], goes_to)


def _weight_files(reader: ExportReader) -> list[FileEntry]:
    return [entry for entry in reader.manifest.files if entry.key.endswith(".safetensors")]


def _targets(model: nn.Module) -> dict[str, Tensor]:
    """What an export holds of a model: not what only training knows."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in named if not name.endswith(".expert_frequency")}


def _local(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    return detached.to_local() if isinstance(detached, DTensor) else detached


def _box(tensor: Tensor) -> Box | None:
    """Of the local shard; None where this rank holds nothing of it."""
    if not isinstance(tensor, DTensor):
        return Box((0,) * tensor.ndim, tuple(tensor.shape))
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Box(tuple(offset), tuple(shape)) if all(shape) else None


def _fits(place: Place, target: Tensor) -> bool:
    """An expert has its part of every other dimension: one, or one of two beside each other."""
    if not place.single:
        return place.shape == tuple(target.shape)
    if target.ndim != len(place.shape) or place.offset[0] >= target.shape[0]:
        return False
    beside = 2 if place.parameter.endswith("gate_up_proj") else 1
    return (place.shape[1] * beside, *place.shape[2:]) == tuple(target.shape[1:])


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
def _copy(piece: Piece, content: bytes) -> Iterator[str]:
    rows = torch.frombuffer(bytearray(content), dtype=piece.stored.dtype)
    rows = rows.view(piece.rows, *piece.stored.shape[1:])[(slice(None), *piece.columns)]
    if not bool(torch.isfinite(rows).all()):
        yield piece.name
    piece.target.copy_(rows)


def _in_parts(store: ObjectStore, file: ObjectInfo) -> Iterator[bytes]:
    for start in range(0, file.size, BATCH_BYTES):
        end = min(start + BATCH_BYTES, file.size)
        yield from store.read_ranges([ByteRange(file.key, start, end, file.etag)])


def load_weights(
    reader: ExportReader, model: nn.Module, architecture: Architecture, *, group: Agreement
) -> None:
    """A collective: into the parameters of every rank, plain tensors or DTensors. Raises ExportError on every
    rank when one finds a reason to."""
    found: list[str] = []
    try:
        stream = WeightStream(reader, model, architecture)
        found += [f"{name} holds NaN or infinite numbers" for name in stream.load()]
        found += stream.damaged(rank=group.rank, world_size=group.world_size)
    except (ExportError, StoreError) as error:
        group.sum(torch.ones(1, device=group.device))
        raise error
    failed = group.sum(torch.tensor([float(bool(found))], device=group.device))
    if found:
        raise ExportError(f"{reader.uri}: {'; '.join(dict.fromkeys(found[:_NAMED]))}: export the model again")
    if failed.item():
        raise ExportError(f"{reader.uri}: another rank found it damaged; its log says where")
