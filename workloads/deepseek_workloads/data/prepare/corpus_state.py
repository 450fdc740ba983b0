"""All documents between two steps of a pipeline, and how a substep is run over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deepseek_workloads.contract.records import StageReport
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.executor import Executor
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, StageRecord
from deepseek_workloads.data.prepare.stage import OnDone, run_stage

Item = TypeVar("Item")
Record = TypeVar("Record", bound=StageRecord)


@dataclass(frozen=True)
class Corpus:
    """All documents after some steps: as they were written last, and what was dropped since."""

    records: tuple[DocumentsRecord, ...]
    dropped: tuple[DropRecord, ...] = ()
    reports: tuple[StageReport, ...] = ()
    refused_examples: tuple[str, ...] = ()  # of documents that a stage could not treat

    @property
    def documents(self) -> int:
        return sum(record.documents for record in self.records) - sum(
            record.part_starts[-1] for record in self.dropped
        )


@dataclass(frozen=True)
class Stages:
    """How one substep is run over its items."""

    context: Context
    executor: Executor
    on_done: OnDone

    def run(
        self, name: str, task: Callable[[Item], Record], items: Sequence[Item], record_type: type[Record]
    ) -> list[Record]:
        return run_stage(
            self.context,
            name,
            task,
            items,
            record_type=record_type,
            executor=self.executor,
            on_done=self.on_done,
        )
