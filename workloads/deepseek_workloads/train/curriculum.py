"""Short sequences first: rows of T tokens are cut into more rows of fewer, by the stage that a step is in.

Nothing is left out: a step trains on the same tokens, whatever its stage. Positions begin anew in each piece.
Which tokens a stage takes, where it has a difficulty, is a matter of the order (`data.difficulty`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_workloads.contract.objective import CurriculumStage


def sequence_length(stages: Sequence[CurriculumStage], *, step: int) -> int | None:
    """Of step `step`: that of the first stage that has not ended. None: rows are whole."""
    return next((stage.sequence_length for stage in stages if step <= stage.until_step), None)


def cut(ids: Tensor, labels: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """`ids` [b, T+1] and `labels` [b, T] -> inputs and labels [b * T / length, length], both."""
    inputs = ids[:, :-1]
    return inputs.reshape(-1, length), labels.reshape(-1, length)


def row_numbers(sample_ids: Sequence[int], *, rows: int) -> Tensor:
    """int64 [rows]: a number for each piece of each sample, the sample's own where it is whole."""
    pieces = rows // len(sample_ids)
    return (torch.tensor(sample_ids).unsqueeze(1) * pieces + torch.arange(pieces)).flatten()
