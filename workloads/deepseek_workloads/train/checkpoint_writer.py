"""Writes checkpoints beside the training: a copy is taken between two steps, the rest runs in a thread.

The thread uploads what the copy holds. When the files of every rank are durable, rank 0 publishes the
checkpoint by one record of the commit log. At most one is under way. It does not know when one is due.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepseek_workloads.contract import layout
from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CheckpointEntry, Writer, live_checkpoints
from deepseek_workloads.train.checkpoint import Identity, Position, StatePart, part_tensors, state_tensors
from deepseek_workloads.train.checkpoint_files import FileLayout, StagedFile, file_layouts
from deepseek_workloads.train.checkpoint_index import index_of
from deepseek_workloads.train.checkpoint_plan import Signature, WritePlan, make_plan, signature
from deepseek_workloads.train.checkpoint_storage import INDEX_FILE
from deepseek_workloads.train.checkpoint_uploads import Uploaded, all_uploaded, file_entry
from deepseek_workloads.train.decisions import CheckpointReason
from deepseek_workloads.train.group import Group, portable
from deepseek_workloads.train.parallel_calls import in_parallel
from deepseek_workloads.train.replicas.folder import MemoryReplicas
from deepseek_workloads.train.replicas.keeping import Published, keep
from deepseek_workloads.train.retention import attempt_name
from deepseek_workloads.train.writer_ranks import WriterRanks, writer_ranks

_CONCURRENT_FILES = 8
_PODS_GO = ("preemption", "final")  # why a checkpoint is written that no restart in place follows
_COMMIT_SECONDS = 10.0  # that a run which fails waits for a checkpoint whose files are all durable


@dataclass(frozen=True)
class Place:
    """Where the checkpoints of an epoch go, and what they belong to."""

    store: ObjectStore
    writer: Writer | None  # rank 0's
    epoch: int
    identity: Identity


@dataclass(frozen=True)
class State:
    """What is written of a run."""

    model: nn.Module
    optimizer: Optimizer
    parts: Sequence[StatePart] = ()

    def tensors(self) -> dict[str, Tensor]:
        return state_tensors(self.model, self.optimizer) | part_tensors(self.parts)


@dataclass(frozen=True)
class Wanted:
    """What is written. Rank 0 calls `before_commit` when all files are durable."""

    position: Position
    metrics: Mapping[str, float]
    reason: CheckpointReason
    before_commit: Callable[[], None]


@dataclass(frozen=True)
class Durable:
    """A checkpoint that was published, and those that a run could go on from at that time."""

    entry: CheckpointEntry
    live: tuple[CheckpointEntry, ...]
    seconds: float  # from the copy to here
    warnings: tuple[str, ...] = ()


class Abandoned(Exception):
    """The run ends for another reason: nothing more is uploaded."""


class CheckpointWriter:
    """Of one rank. `after_commit` is called on rank 0, in the thread, and returns warnings."""

    def __init__(
        self,
        place: Place,
        state: State,
        group: Group,
        *,
        in_background: bool,
        after_commit: Callable[[], Sequence[str]] = tuple,
        memory: MemoryReplicas | None = None,
    ) -> None:
        """A collective. Without `in_background`, `begin` returns when all is done, and nothing is copied
        ahead. `memory` gets the files of what is durable."""
        self._place, self._state, self._group = place, state, group
        self._in_background, self._after_commit, self._memory = in_background, after_commit, memory
        self._ranks = writer_ranks(group)
        self._signature: Signature | None = None
        self._plan = WritePlan((), None)
        self._layouts: list[FileLayout] = []
        self._staged: list[StagedFile] = []
        self._thread: threading.Thread | None = None
        self._durable: Durable | None = None
        self._error: BaseException | None = None
        self._abandoned, self._committing, self._committed = (threading.Event() for _ in range(3))

    @property
    def durable(self) -> Durable | None:
        """Rank 0's, of the newest that was begun; None while it is under way, and when it failed."""
        return None if self._running else self._durable

    @property
    def failed(self) -> bool:
        """Whether this rank knows that the newest one cannot be published."""
        return not self._running and self._error is not None

    def begin(self, wanted: Wanted) -> None:
        """A collective, when none is under way. Returns when the state may be changed again, which is before
        the checkpoint is durable."""
        ranks = self._ranks
        if ranks is None:
            return
        begun = time.monotonic()
        tensors = self._state.tensors()
        self._keep_plan(tensors, ranks)
        if self._in_background:
            self._stage(tensors)
        self._durable, self._error = None, None
        self._committing.clear()
        self._committed.clear()
        self._thread = threading.Thread(
            target=self._write,
            args=(wanted, {} if self._in_background else tensors, ranks, begun),
            name="checkpoint",
            daemon=True,
        )
        self._thread.start()
        if not self._in_background:
            self._thread.join()

    def wait(self) -> CheckpointEntry:
        """A collective, after `begin`: until the checkpoint is durable. Raises Fenced and StoreErrors on
        every rank; then the checkpoints before are untouched."""
        if self._thread is not None:
            self._thread.join()
        if self._group.rank > 0 and self._error is not None:
            raise self._error
        return self._group.on_rank_zero(self._published)

    def abandon(self) -> None:
        """When the run fails meanwhile. What is durable already is still published."""
        self._abandoned.set()
        if self._committing.is_set():
            self._committed.wait(_COMMIT_SECONDS)

    def close(self) -> None:
        """A collective, when none is under way."""
        if self._ranks is not None:
            self._ranks.close()

    @property
    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _published(self) -> CheckpointEntry:
        if self._error is not None:
            raise self._error
        assert self._durable is not None
        return self._durable.entry

    def _keep_plan(self, tensors: Mapping[str, Tensor], ranks: WriterRanks) -> None:
        """The first time, and when the optimizer has got states since."""
        found = signature(tensors)
        if not ranks.any(found != self._signature):
            return
        self._staged = []  # before there are new ones
        self._plan, self._signature = make_plan(tensors, ranks), found
        self._layouts = file_layouts(self._plan.items, rank=ranks.rank)
        if self._in_background:
            pinned = self._group.device.type == "cuda"
            self._staged = [StagedFile(layout, pinned=pinned) for layout in self._layouts]

    def _stage(self, tensors: Mapping[str, Tensor]) -> None:
        for file in self._staged:
            file.stage(tensors)
        if self._group.device.type == "cuda":
            torch.cuda.synchronize(self._group.device)

    # --- in the thread

    def _write(self, wanted: Wanted, tensors: Mapping[str, Tensor], ranks: WriterRanks, begun: float) -> None:
        published: Published | None = None
        try:
            attempt = attempt_name(self._place.epoch, str(uuid.uuid4()))
            prefix = layout.data_prefix(ranks.from_rank_zero(attempt))
            uploads = ranks.gather(self._upload(prefix, tensors))
            if ranks.rank == 0:
                self._committing.set()
                self._durable, published = self._commit(wanted, prefix, uploads, begun)
        except BaseException as error:  # raised again by `wait`
            self._error = error
        self._committed.set()
        if self._memory is not None:
            try:
                self._keep(published, tensors, ranks, self._memory)
            except Exception as error:  # of a peer that is gone, which the training will see
                self._warn(f"the pods' memory holds no copy of the checkpoint: {error}")

    def _keep(
        self,
        published: Published | None,
        tensors: Mapping[str, Tensor],
        ranks: WriterRanks,
        memory: MemoryReplicas,
    ) -> None:
        """A collective, whatever became of the checkpoint."""
        published = ranks.from_rank_zero(None if self._abandoned.is_set() else published)
        if published is None:
            return
        prefix = published.prefix
        contents = ((prefix + file.name, file.content) for file in self._files(tensors))
        for problem in keep(published, contents, memory=memory, ranks=ranks):
            self._warn(problem)

    def _warn(self, warning: str) -> None:
        if self._durable is not None:
            self._durable = replace(self._durable, warnings=(*self._durable.warnings, warning))

    def _files(self, tensors: Mapping[str, Tensor]) -> Iterator[StagedFile]:
        """One at a time where they are not kept."""
        yield from self._staged
        for layout_of_file in self._layouts if not self._staged else ():
            file = StagedFile(layout_of_file, pinned=False)
            file.stage(tensors)
            yield file

    def _upload(self, prefix: str, tensors: Mapping[str, Tensor]) -> "Uploaded | Exception":
        """All files of this rank."""

        def put(file: FileLayout | StagedFile) -> tuple[FileEntry, Mapping[Any, Any]]:
            if self._abandoned.is_set():
                raise Abandoned
            if isinstance(file, FileLayout):
                file = StagedFile(file, pinned=False)
                file.stage(tensors)
            entry = file_entry(prefix + file.name, file.content)
            self._place.store.put(entry.key, file.content)
            return entry, dict(file.chunks())

        files: Sequence[FileLayout | StagedFile] = self._staged or self._layouts
        try:
            written = in_parallel(put, files, threads=_CONCURRENT_FILES)
        except Exception as error:
            return portable(error)
        chunks = {index: chunk for _, of_file in written for index, chunk in of_file.items()}
        return Uploaded([entry for entry, _ in written], chunks)

    def _commit(
        self, wanted: Wanted, prefix: str, uploads: Sequence[Uploaded | Exception], begun: float
    ) -> tuple[Durable, Published | None]:
        done = all_uploaded(uploads)
        chunks = {index: chunk for upload in done for index, chunk in upload.chunks.items()}
        files = [file for upload in done for file in upload.files]
        writer = self._place.writer
        assert writer is not None
        assert self._plan.metadata is not None
        document = index_of(self._plan.metadata, chunks).to_json()
        index = file_entry(prefix + INDEX_FILE, document)
        self._place.store.put(index.key, document)
        wanted.before_commit()
        entry = writer.commit_checkpoint(
            step=wanted.position.step,
            consumed_samples=wanted.position.consumed_samples,
            tokens=wanted.position.tokens,
            prefix=prefix,
            files=[index, *sorted(files, key=lambda file: file.key)],
            metrics=dict(wanted.metrics),
            architecture_digest=self._place.identity.architecture_digest,
            dataset_digests=self._place.identity.dataset_digests,
            reason=wanted.reason,
        )
        seconds = time.monotonic() - begun
        warnings = tuple(self._after_commit())
        durable = Durable(entry, tuple(live_checkpoints(writer.entries)), seconds, warnings)
        if wanted.reason in _PODS_GO:
            return durable, None
        return durable, Published(prefix, (index.key, document), [upload.files for upload in done])
