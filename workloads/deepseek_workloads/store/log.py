"""The commit log: dense, create-only records (`log/00000001.json`, ...) that say what is true in the store.

A writer begins an epoch by appending an EpochRecord; from then on no writer of an older epoch can append. The
proof is in the order of the keys: a writer appends at the first free index only, so it must read every record
before that index, and with them the newer epoch's. A record is one conditional PUT: all of it is there, or
none. The log knows records and who may write them, not what a checkpoint holds.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pydantic

from deepseek_workloads.contract import layout
from deepseek_workloads.contract.recipe import Recipe
from deepseek_workloads.contract.records import (
    CheckpointRecord,
    EpochRecord,
    ExportRecord,
    FileEntry,
    RetireRecord,
    parse_record,
)
from deepseek_workloads.store.interface import AlreadyExists, ByteRange, NotFound, ObjectStore, StoreError

Record = EpochRecord | CheckpointRecord | RetireRecord | ExportRecord


class Fenced(Exception):
    """A newer epoch owns the log: this writer must end, and has lost nothing that was committed."""


class Overtaken(Fenced):
    """By a group of the same driver: whichever of the two is a straggler, the driver's next group decides."""


class CorruptLog(StoreError):
    reason = "CorruptLog"


@dataclass(frozen=True)
class LogEntry:
    index: int
    record: Record


@dataclass(frozen=True)
class CheckpointEntry:
    index: int
    record: CheckpointRecord


def timestamp() -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def live_checkpoints(entries: Sequence[LogEntry]) -> list[CheckpointEntry]:
    """Those that a run may go on from, in the order in which they were committed: not retired, nor given up
    by a rollback. Its own checkpoint takes the place of the one that it went back to, and of all after it."""
    checkpoints = [
        (entry.index, entry.record) for entry in entries if isinstance(entry.record, CheckpointRecord)
    ]
    rollbacks = [(index, record.step) for index, record in checkpoints if record.reason == "rollback"]
    return [
        entry
        for entry in unretired_checkpoints(entries)
        if not any(index > entry.index and step <= entry.record.step for index, step in rollbacks)
    ]


def unretired_checkpoints(entries: Sequence[LogEntry]) -> list[CheckpointEntry]:
    """Checkpoints that no RetireRecord names, in the order in which they were committed."""
    retired = {i for entry in entries if isinstance(entry.record, RetireRecord) for i in entry.record.indices}
    return [
        CheckpointEntry(entry.index, entry.record)
        for entry in entries
        if isinstance(entry.record, CheckpointRecord) and entry.index not in retired
    ]


def newest_epoch(entries: Sequence[LogEntry]) -> int:
    """0 in a log without an epoch."""
    return max((entry.record.epoch for entry in entries if isinstance(entry.record, EpochRecord)), default=0)


def recipe_of_newest_checkpoint(entries: Sequence[LogEntry]) -> Recipe | None:
    """What the run trained whose checkpoint would be gone on from; None: no checkpoint, or not recorded."""
    checkpoints = live_checkpoints(entries)
    if not checkpoints:
        return None
    epoch = checkpoints[-1].record.epoch
    records = [entry.record for entry in entries if isinstance(entry.record, EpochRecord)]
    return next((record.recipe for record in records if record.epoch == epoch), None)


class CommitLog:
    """Reads the log and begins epochs. `clock` and `new_writer` are for tests."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        clock: Callable[[], str] = timestamp,
        new_writer: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_writer = new_writer

    def records(self) -> list[LogEntry]:
        """All entries, oldest first. Raises CorruptLog for a gap or a document that is no record."""
        objects = [info for info in self._store.list(layout.LOG_PREFIX) if info.key.endswith(".json")]
        ranges = [ByteRange(info.key, 0, info.size, info.etag) for info in objects]
        documents = zip(objects, self._store.read_ranges(ranges), strict=True)
        entries = [_parse(self._store, info.key, document) for info, document in documents]
        for expected, entry in enumerate(entries, start=1):
            if entry.index != expected:
                raise CorruptLog(
                    f"{self._store.uri}/{layout.log_key(expected)}: missing, though {entry.index} exists: "
                    "the log must be dense; restore the object from a version or a backup"
                )
        return entries

    def begin_epoch(
        self,
        *,
        run_config_digest: str,
        owner_uid: str = "",
        term: Sequence[int] = (),
        pod: str = "",
        recipe: Recipe | None = None,
    ) -> "Writer":
        """Takes over the log.

        `term` orders the writers of one owner, most significant first (the coordinator pod's incarnation, the
        driver's restarts, ...): raises Fenced when the log holds an epoch of the same owner with a higher
        term, so that a straggler cannot take the log back from its successor.
        """
        writer = self._new_writer()
        appender = _Appender(self._store, self.records())
        while True:
            _refuse_stale(appender.entries, owner_uid=owner_uid, term=list(term))
            record = EpochRecord(
                epoch=newest_epoch(appender.entries) + 1,
                writer=writer,
                created_at=self._clock(),
                run_config_digest=run_config_digest,
                pod=pod,
                owner_uid=owner_uid,
                term=list(term),
                recipe=recipe,
            )
            if appender.try_append(record):
                return Writer(appender, record, clock=self._clock)


class Writer:
    """Appends for one epoch. Not thread-safe. Every method raises Fenced once a newer epoch has begun, and
    StoreUnavailable when the store cannot be reached: the same call may then be made again."""

    def __init__(self, appender: "_Appender", epoch: EpochRecord, *, clock: Callable[[], str]) -> None:
        self._appender = appender
        self._epoch = epoch
        self._clock = clock

    @property
    def epoch(self) -> int:
        return self._epoch.epoch

    @property
    def writer(self) -> str:
        return self._epoch.writer

    @property
    def run_config_digest(self) -> str:
        return self._epoch.run_config_digest

    @property
    def entries(self) -> list[LogEntry]:
        """Up to the last own record. All that older epochs committed is in here: they can add nothing."""
        return list(self._appender.entries)

    def commit_checkpoint(
        self,
        *,
        step: int,
        consumed_samples: int,
        tokens: int,
        prefix: str,
        files: Sequence[FileEntry],
        metrics: dict[str, float] | None = None,
        architecture_digest: str = "",
        dataset_digests: Sequence[str] = (),
        reason: str = "schedule",
    ) -> CheckpointEntry:
        """Publishes a checkpoint whose files are all durable already. `reason` is CheckpointRecord's."""
        record = CheckpointRecord.model_validate(
            {
                **self._stamp(),
                "step": step,
                "consumed_samples": consumed_samples,
                "tokens": tokens,
                "prefix": prefix,
                "files": list(files),
                "metrics": metrics or {},
                "architecture_digest": architecture_digest,
                "dataset_digests": list(dataset_digests),
                "reason": reason,
            }
        )
        return CheckpointEntry(self._append(record).index, record)

    def retire(self, indices: Sequence[int]) -> LogEntry:
        """After this the files of these checkpoints may be deleted."""
        return self._append(RetireRecord.model_validate({**self._stamp(), "indices": list(indices)}))

    def commit_export(self, *, step: int, digest: str, prefix: str) -> LogEntry:
        return self._append(
            ExportRecord.model_validate({**self._stamp(), "step": step, "digest": digest, "prefix": prefix})
        )

    def check_fence(self) -> None:
        """Reads on to the end of the log, without writing."""
        self._appender.read_on()
        self._refuse_newer_epoch()

    def _stamp(self) -> dict[str, object]:
        return {"epoch": self.epoch, "writer": self.writer, "created_at": self._clock()}

    def _append(self, record: Record) -> LogEntry:
        self._refuse_newer_epoch()
        while not self._appender.try_append(record):
            self._refuse_newer_epoch()
        return self._appender.entries[-1]

    def _refuse_newer_epoch(self) -> None:
        epochs = (e.record for e in self._appender.entries if isinstance(e.record, EpochRecord))
        newest = max(epochs, key=lambda record: record.epoch)
        if newest.epoch > self.epoch:
            own = self._epoch.owner_uid != "" and newest.owner_uid == self._epoch.owner_uid
            kind = Overtaken if own and newest.term == self._epoch.term else Fenced
            raise kind(
                f"epoch {newest.epoch} owns the commit log now; this is epoch {self.epoch}: end this process"
            )


class _Appender:
    """What is known of the log, and the one conditional write that extends it."""

    def __init__(self, store: ObjectStore, entries: list[LogEntry]) -> None:
        self._store = store
        self.entries = entries

    def try_append(self, record: Record) -> bool:
        """False: the first free index was taken by another record, which is now in `entries`."""
        index = len(self.entries) + 1
        document = record.to_json()
        try:
            self._store.create(layout.log_key(index), document)
        except AlreadyExists:
            # Either another writer was first, or the answer to an own attempt was lost. The record carries
            # the writer's UUID, so equal content means that it is ours.
            present = self._store.read(layout.log_key(index))
            self.entries.append(_parse(self._store, layout.log_key(index), present))
            return present == document
        self.entries.append(LogEntry(index, record))
        return True

    def read_on(self) -> None:
        while True:
            key = layout.log_key(len(self.entries) + 1)
            try:
                self.entries.append(_parse(self._store, key, self._store.read(key)))
            except NotFound:
                return


def _parse(store: ObjectStore, key: str, document: bytes) -> LogEntry:
    try:
        return LogEntry(layout.log_index(key), parse_record(document))
    except (pydantic.ValidationError, ValueError) as error:
        raise CorruptLog(
            f"{store.uri}/{key}: is no record of the commit log ({error}): a newer version wrote it, or it "
            "is damaged: upgrade, or restore the object"
        ) from error


def _refuse_stale(entries: Sequence[LogEntry], *, owner_uid: str, term: list[int]) -> None:
    for entry in entries:
        record = entry.record
        if not isinstance(record, EpochRecord) or not owner_uid or record.owner_uid != owner_uid:
            continue
        if record.term > term:
            raise Fenced(
                f"epoch {record.epoch} of {record.pod or 'a successor'} has term {record.term}, this process "
                f"has {term}: it was replaced, end it"
            )
