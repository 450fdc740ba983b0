"""The raw objects of a dataset: found, fingerprinted, cut into parts of equal size."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import xxhash

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.contract.run_config import DatasetRun, RawSource
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.compression import compression_of
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.records import Part, RawSlice
from deepseek_workloads.store.interface import ByteRange, ObjectInfo, ObjectStore

MIN_PART_BYTES = 1024 * 1024
IMAGE_PART_BYTES = 128 * 1024  # of lines that name images, all of which a task holds: some hundred
PARTS_AIM = 16  # of a small dataset, so that several workers have something to do
BYTES_A_TOKEN = 4  # an estimate: a part becomes about one shard
OBJECT_COST_BYTES = 32 * 1024  # what a request costs, in bytes that could be read meanwhile


def is_caption(source: RawSource, key: str) -> bool:
    """Whether the object is text that goes with an image beside it."""
    return any(fnmatchcase(key, pattern) for pattern in source.captions or ())


def list_raw(context: Context) -> list[RawSlice]:
    """Every raw object as one slice, by source and key. Raises DatasetError where a source has none."""
    slices = []
    for number, source in enumerate(context.run.raw_sources):
        with context.raw(number) as store:
            found = [
                RawSlice(source=number, key=info.key, etag=info.etag, size=info.size, start=0, end=info.size)
                for info in store.list("")
                if is_wanted(info, source)
            ]
        if not found:
            raise DatasetError(
                f"raw source {source.name!r}: no object below {source.uri} matches include {source.include} "
                f"and not exclude {source.exclude}: correct the URI (a prefix, not an object) or them",
                reasons.NO_RAW_OBJECTS,
            )
        slices += found
    return slices


def check_readable(context: Context, slices: Sequence[RawSlice]) -> None:
    """Reads a byte of each source's first object: a right to list is none to read. Raises StoreErrors."""
    first = {piece.source: piece for piece in reversed(slices)}
    for number, piece in sorted(first.items()):
        with context.raw(number) as store:
            store.read_ranges([ByteRange(piece.key, 0, 1, piece.etag)])


def is_wanted(info: ObjectInfo, source: RawSource) -> bool:
    if info.key.endswith("/") or info.size == 0:
        return False
    included = any(fnmatchcase(info.key, pattern) for pattern in source.include)
    return included and not any(fnmatchcase(info.key, pattern) for pattern in source.exclude)


def fingerprint(run: DatasetRun, slices: Sequence[RawSlice], *, evaluation_sets: Sequence[str] = ()) -> str:
    """sha256 over (uri, etag, size) of the raw objects, in order, and the same of evaluation sets."""
    lines = [*(_line_of(run, piece) for piece in slices), *(f"{line}\n" for line in evaluation_sets)]
    return sha256_digest("".join(lines).encode())


def object_hashes(run: DatasetRun, slices: Sequence[RawSlice]) -> npt.NDArray[np.uint64]:
    """A hash of each object (uri, etag, size), in the order of the slices: by it a later look tells new
    ones."""
    return np.array(
        [xxhash.xxh3_64_intdigest(_line_of(run, each).encode()) for each in slices], dtype=np.uint64
    )


def put_raw_objects(context: Context, store: ObjectStore, slices: Sequence[RawSlice]) -> FileEntry:
    content = np.sort(object_hashes(context.run, slices)).astype("<u8").tobytes()
    return put_file(store, context.key("raw-objects"), content)


def _line_of(run: DatasetRun, piece: RawSlice) -> str:
    uri = run.raw_sources[piece.source].uri.rstrip("/")
    return f"{uri}/{piece.key}\t{piece.etag}\t{piece.size}\n"


def plan_parts(run: DatasetRun, slices: Sequence[RawSlice]) -> list[Part]:
    """Parts of nearly equal cost, in the order of the objects. Does not depend on the number of workers.

    What can be cut is, where a part is full.
    """
    total = sum(_cost(piece) for piece in slices)
    largest = max(MIN_PART_BYTES, run.shard_tokens * BYTES_A_TOKEN)
    target = min(max(total // PARTS_AIM, MIN_PART_BYTES), largest)
    if run.with_images:
        target = IMAGE_PART_BYTES
    parts: list[list[RawSlice]] = [[]]
    room = target
    for piece in slices:
        rest, whole = piece, not can_be_cut(piece, run.raw_sources[piece.source])
        while True:
            if parts[-1] and (room < target // 8 or (whole and _cost(rest) // 2 > room)):
                parts.append([])
                room = target
            if whole or _cost(rest) <= room + target // 8:
                parts[-1].append(rest)
                room -= _cost(rest)
                break
            cut = rest.start + room
            parts[-1].append(rest.model_copy(update={"end": cut}))
            rest, room = rest.model_copy(update={"start": cut}), 0
    return [Part(number=number, slices=pieces) for number, pieces in enumerate(parts)]


def can_be_cut(piece: RawSlice, source: RawSource) -> bool:
    """Lines and row groups are found from anywhere; a document, a tar and what is compressed are not."""
    if source.format == "parquet":
        return True
    if is_caption(source, piece.key):
        return False
    return source.format in ("jsonl", "chat", "image-text") and compression_of(piece.key) is None


def _cost(piece: RawSlice) -> int:
    return piece.end - piece.start + OBJECT_COST_BYTES
