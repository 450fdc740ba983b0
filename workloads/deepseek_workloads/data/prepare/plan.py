"""From the pipeline of a run to the steps that are carried out. Pure.

Stages of records that follow one another share a pass over the documents, which are written once after it. A
stage over all documents, or one that asks a service or loads a model, is a step of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_workloads.contract.augmentation import BackTranslate, ReorderClauses
from deepseek_workloads.contract.pipeline import (
    DeduplicateExact,
    DeduplicateNear,
    DeduplicateSemantic,
    DeduplicateSubstrings,
    FilterPerplexity,
    FilterTfIdf,
    PipelineStage,
    ScoreDifficulty,
    is_global,
)
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.prepare.stage import DEDUPLICATE, READ, TOKENIZE, TOKENIZER


@dataclass(frozen=True)
class RecordPass:
    stages: tuple[PipelineStage, ...]

    @property
    def name(self) -> str:
        """No name of a stage has an underscore: it cannot be another's."""
        first, last = self.stages[0].name, self.stages[-1].name
        return first if len(self.stages) == 1 else f"{first}_{last}"

    @property
    def substeps(self) -> list[str]:
        return [self.name]


@dataclass(frozen=True)
class GlobalStep:
    stage: PipelineStage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def substeps(self) -> list[str]:
        """What runs over parts, over ranges, and as one task; each has a manifest."""
        match self.stage.settings:
            case DeduplicateExact() | ReorderClauses():
                return [self.name]
            case DeduplicateNear():
                return [f"{self.name}_signatures", f"{self.name}_pairs", self.name]
            case DeduplicateSemantic():
                substeps = ("model", "vectors", "centroids", "clusters", "pairs")
                return [*(f"{self.name}_{each}" for each in substeps), self.name]
            case DeduplicateSubstrings():
                return [f"{self.name}_windows", f"{self.name}_repeats", self.name]
            case BackTranslate():
                return [f"{self.name}_service", self.name]
            case FilterPerplexity():
                return [f"{self.name}_model", self.name]
            case FilterTfIdf() | ScoreDifficulty():
                return [f"{self.name}_counts", f"{self.name}_totals", self.name]
            case _:
                return [f"{self.name}_ngrams", self.name]


Step = RecordPass | GlobalStep


def stages_of(run: DatasetRun) -> list[PipelineStage]:
    """Without a pipeline: equal documents are dropped, if they are to be."""
    if run.pipeline:
        return run.pipeline
    exact = PipelineStage(name=DEDUPLICATE, deduplicate_exact=DeduplicateExact())
    return [exact] if run.deduplicate else []


def plan_steps(stages: Sequence[PipelineStage]) -> list[Step]:
    steps: list[Step] = []
    for stage in stages:
        if is_global(stage.settings):
            steps.append(GlobalStep(stage))
        elif steps and isinstance(steps[-1], RecordPass):
            steps[-1] = RecordPass((*steps[-1].stages, stage))
        else:
            steps.append(RecordPass((stage,)))
    return steps


def progress_names(run: DatasetRun) -> list[str]:
    """Of everything that is carried out, in order."""
    steps = plan_steps(stages_of(run))
    return [READ, *(name for step in steps for name in step.substeps), TOKENIZER, TOKENIZE]
