"""Inputs, labels and documents of packed rows."""

import numpy as np
import torch

from deepseek_workloads.data.loss_mask import Tokens, with_mask
from deepseek_workloads.data.rows import IGNORED, build_rows
from deepseek_workloads.data.windows import pack


def answer(*ids: int) -> Tokens:
    return with_mask(np.array(ids, dtype=np.uint32), np.ones(len(ids), dtype=np.bool_))


def test_the_first_token_of_a_document_is_not_predicted_from_the_document_before() -> None:
    """Also where it is an answer's."""
    windows = pack(np.array([0, 3, 5]), sequence_length=7)
    rows = build_rows([answer(11, 12, 13, 21, 22)], [(windows, 0)], sequence_length=7)
    assert rows.documents is not None
    assert rows.documents.tolist() == [[0, 0, 0, 1, 1, -1, -1, -1]]
    assert rows.labels.tolist() == [[12, 13, IGNORED, 22, IGNORED, IGNORED, IGNORED]]


def test_the_tokens_of_a_row_are_without_its_padding() -> None:
    windows = pack(np.array([0, 3, 5]), sequence_length=7)
    rows = build_rows([answer(0, 12, 13, 21, 0)], [(windows, 0)], sequence_length=7)
    assert torch.equal(rows.input_ids, torch.tensor([[0, 12, 13, 21, 0, 0, 0, 0]]))
    assert rows.tokens(0) == [0, 12, 13, 21, 0]
