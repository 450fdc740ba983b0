"""The exact groups that bench-prepare holds near-duplicates against."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from near_duplicates import exact_groups, recall_and_precision


def test_what_is_alike_through_others_is_one_group() -> None:
    words = [f"w{number}" for number in range(40)]
    texts = [" ".join(words[at : at + 30]) for at in (0, 3, 6)]  # 0.76 to the next, 0.58 to the one after
    assert exact_groups([*texts, "something else"], n=2, threshold=0.7) == [[0, 1, 2], [3]]


def test_pairs_are_counted_within_groups() -> None:
    truth = [[0, 1, 2], [3, 4], [5]]
    assert recall_and_precision(truth, truth) == (1, 1)
    assert recall_and_precision([[0, 1], [2], [3, 4, 5]], truth) == (
        pytest.approx(2 / 4),
        pytest.approx(2 / 4),
    )
    assert recall_and_precision([[number] for number in range(6)], truth) == (0, 1)
