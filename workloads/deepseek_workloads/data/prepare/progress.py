"""The progress of a preparation, as it is shown: parts done of each stage, in order."""

from collections.abc import Callable

from deepseek_workloads.contract.messages import Progress, StageProgress
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.prepare.plan import progress_names
from deepseek_workloads.data.prepare.stage import DEDUPLICATE, READ, TOKENIZE, TOKENIZER

_DOING = {
    READ: "reading and hashing documents",
    DEDUPLICATE: "finding duplicates",
    TOKENIZER: "making the tokenizer",
    TOKENIZE: "writing token shards",
}


class StageReporter:
    def __init__(self, run: DatasetRun, report: Callable[[Progress], None]) -> None:
        self._stages = {name: StageProgress(name=name) for name in progress_names(run)}
        self._report = report

    def on_done(self, stage: str, done: int, total: int) -> None:
        self._stages[stage] = StageProgress(name=stage, done=done, total=total)
        message = f"{_DOING.get(stage, stage)}: {done} of {total}"
        self._report(Progress(phase="Preparing", message=message, stages=list(self._stages.values())))
