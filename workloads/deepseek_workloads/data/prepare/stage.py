"""One stage over its parts, restartable: a part that has a record is not done again.

A task writes its files first and its record last, both deterministic, so two processes that do the same part
do no harm. A finished stage has one manifest of all its records.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.executor import Executor
from deepseek_workloads.data.prepare.records import StageManifest, StageRecord
from deepseek_workloads.store.interface import AlreadyExists, NotFound, ObjectStore
from deepseek_workloads.store.part_records import put_record as put_part_record
from deepseek_workloads.store.part_records import read_records

Item = TypeVar("Item")
Record = TypeVar("Record", bound=StageRecord)
OnDone = Callable[[str, int, int], None]  # stage, parts done, parts in all

READ, DEDUPLICATE, TOKENIZER, TOKENIZE = "read", "deduplicate", "tokenizer", "tokenize"


def run_stage(
    context: Context,
    stage: str,
    task: Callable[[Item], Record],
    items: Sequence[Item],
    *,
    record_type: type[Record],
    executor: Executor,
    on_done: OnDone,
) -> list[Record]:
    """The records of all items, in their order; the record of item i has number i."""
    with context.output() as store:
        records = _finished(store, context, stage, record_type, count=len(items))
        on_done(stage, len(records), len(items))
        if len(records) < len(items):
            missing = [item for number, item in enumerate(items) if number not in records]
            for record in executor.run(task, missing):
                records[record.number] = record
                on_done(stage, len(records), len(items))
            _publish(store, context, stage, [records[number] for number in range(len(items))])
    return [records[number] for number in range(len(items))]


def put_record(store: ObjectStore, context: Context, stage: str, record: Record) -> Record:
    """The last thing a task does: from here on its part is done."""
    put_part_record(store, _records_prefix(context, stage), record.number, record.to_json())
    return record


def _finished(
    store: ObjectStore, context: Context, stage: str, record_type: type[Record], *, count: int
) -> dict[int, Record]:
    try:
        manifest = StageManifest.model_validate_json(store.read(_manifest_key(context, stage)))
        documents = {number: document.encode() for number, document in enumerate(manifest.records)}
    except NotFound:
        documents = read_records(store, _records_prefix(context, stage))
    return {
        number: record_type.model_validate_json(content)
        for number, content in documents.items()
        if number < count
    }


def _publish(store: ObjectStore, context: Context, stage: str, records: Sequence[Record]) -> None:
    manifest = StageManifest(stage=stage, records=[record.to_json().decode() for record in records])
    with suppress(AlreadyExists):  # another process finished the same stage
        store.create(_manifest_key(context, stage), manifest.to_json())


def _records_prefix(context: Context, stage: str) -> str:
    return context.key(f"stages/{stage}/")


def _manifest_key(context: Context, stage: str) -> str:
    return context.key(f"stages/{stage}.json")
