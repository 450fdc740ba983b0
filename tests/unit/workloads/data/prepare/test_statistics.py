import math

import numpy as np
import pytest

from deepseek_workloads.data.prepare.statistics import unigram_bits_per_byte


def test_uniform_tokens_cost_the_logarithm_of_their_number() -> None:
    counts = np.full(16, 10, dtype=np.uint64)
    assert unigram_bits_per_byte(counts, train_counts=counts, text_bytes=160) == pytest.approx(4.0)


def test_a_token_never_seen_in_training_has_a_cost_by_one_added() -> None:
    train, held_out = np.array([6, 0], dtype=np.uint64), np.array([0, 2], dtype=np.uint64)
    bits = unigram_bits_per_byte(held_out, train_counts=train, text_bytes=4)
    assert bits == pytest.approx(2 * -math.log2(1 / 8) / 4)


def test_without_text_there_is_no_number() -> None:
    counts = np.zeros(4, dtype=np.uint64)
    assert unigram_bits_per_byte(counts, train_counts=counts, text_bytes=0) is None
