"""A curriculum by difficulty: which windows each of its stages draws from.

Competence-based curriculum learning (Platanios et al. 2019, arXiv:1903.09848) with a threshold that rises in
stages: a stage draws evenly from all windows that are not above it. Integers only, so that no rounding of one
machine lets another rank see another order. It does not know how windows are shuffled or read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.objective import CurriculumStage
from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.data.document_facts import Facts, read_document_facts
from deepseek_workloads.data.document_offsets import read_document_starts
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.token_space import count_windows
from deepseek_workloads.data.windows import Offsets
from deepseek_workloads.store.interface import ObjectStore

LEVELS: Final = 65535  # steps from difficulty 0 to 1
_TOGETHER: Final = 1 << 20  # windows that are scored at a time
Levels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class DifficultyStage:
    """From a place of the order on."""

    at_sample: int
    max_difficulty: float | None  # None: any

    @property
    def max_level(self) -> int:
        return LEVELS if self.max_difficulty is None else int(self.max_difficulty * LEVELS)


def threshold_for(level: int) -> float:
    """The lowest maxDifficulty of four digits that lets windows of this level be read."""
    steps = -(-level * 10_000 // LEVELS)
    if DifficultyStage(0, steps / 10_000).max_level < level:  # by the rounding of the quotient
        steps += 1
    return steps / 10_000


def difficulty_stages(
    curriculum: Sequence[CurriculumStage], *, global_batch_size: int
) -> tuple[DifficultyStage, ...]:
    """Neighbours with one threshold are one stage; none at all where no stage has any. After the last stage
    every window may come."""
    stages: list[DifficultyStage] = []
    start = 0
    for stage in curriculum:
        if not stages or stages[-1].max_difficulty != stage.max_difficulty:
            stages.append(DifficultyStage(start, stage.max_difficulty))
        start = stage.until_step * global_batch_size
    if all(stage.max_difficulty is None for stage in stages):
        return ()
    if stages[-1].max_difficulty is not None:
        stages.append(DifficultyStage(start, None))
    return tuple(stages)


def read_levels(
    store: ObjectStore, manifest: DatasetManifest, *, source: str, sequence_length: int
) -> Levels:
    """Of each training window. Raises DatasetError where preparation gave no difficulty, and the StoreErrors
    of reading."""
    facts = read_document_facts(store, manifest.train)
    missing = [shard for shard in manifest.train if shard.facts is None]
    if missing or not len(facts) or np.isnan(facts["difficulty"]).all():
        raise DatasetError(
            f"data source {source!r}: its documents have no difficulty, which maxDifficulty of "
            "training.curriculum asks for: add a stage scoreDifficulty to the pipeline of its "
            "DeepSeekDataset and prepare it again under a fresh URI, or leave maxDifficulty away"
        )
    return window_levels(facts, read_document_starts(store, manifest.train), sequence_length=sequence_length)


def window_levels(facts: Facts, starts: Offsets, *, sequence_length: int) -> Levels:
    """0..LEVELS of each window of running text: the mean of its documents' difficulty, each by its tokens in
    the window. Documents without a difficulty, which have no words, count as the hardest.

    `starts`: of all documents, and the end of the last.
    """
    known = np.nan_to_num(facts["difficulty"].astype(np.float64), nan=1.0).clip(0, 1)
    of_documents = np.rint(known * LEVELS).astype(np.int64)
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(of_documents * np.diff(starts))])
    windows = count_windows(int(starts[-1]), sequence_length=sequence_length)
    levels = np.empty(windows, dtype=np.uint16)
    for first in range(0, windows, _TOGETHER):
        begins = np.arange(first, min(first + _TOGETHER, windows), dtype=np.int64) * sequence_length
        ends = begins + sequence_length + 1
        total = _summed(ends, of_documents, before, starts) - _summed(begins, of_documents, before, starts)
        levels[first : first + len(begins)] = total // (sequence_length + 1)
    return levels


def _summed(
    tokens: Offsets, of_documents: npt.NDArray[np.int64], before: npt.NDArray[np.int64], starts: Offsets
) -> npt.NDArray[np.int64]:
    """Levels of all tokens before each of these."""
    document = np.minimum(np.searchsorted(starts, tokens, side="right") - 1, len(of_documents) - 1)
    summed: npt.NDArray[np.int64] = before[document] + of_documents[document] * (tokens - starts[document])
    return summed
