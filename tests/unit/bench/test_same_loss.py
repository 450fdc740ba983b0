"""Sides that do not do the same work are not compared."""

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from same_loss import require_same_loss


def test_losses_that_differ_by_the_order_of_sums_are_the_same() -> None:
    require_same_loss([9.0, 8.9], [9.00001, 8.9001], dtype="fp32", peer="peer")


@pytest.mark.parametrize(
    ("theirs", "step"),
    [
        ([9.001, 8.9], "after 0 updates"),
        ([9.0, 8.95], "after 1 updates"),
        ([9.0, math.nan], "after 1 updates"),
    ],
    ids=["other weights", "another learning rate", "no number"],
)
def test_other_losses_are_refused_by_the_step_where_they_part(theirs: list[float], step: str) -> None:
    with pytest.raises(ValueError, match=rf"^peer: loss .* {step}"):
        require_same_loss([9.0, 8.9], theirs, dtype="fp32", peer="peer")


def test_bf16_may_be_further_off_than_float32() -> None:
    ours, theirs = [9.0, 8.9], [9.003, 8.905]
    require_same_loss(ours, theirs, dtype="bf16", peer="peer")
    with pytest.raises(ValueError, match="fp32"):
        require_same_loss(ours, theirs, dtype="fp32", peer="peer")


def test_a_loss_too_few_is_no_agreement() -> None:
    with pytest.raises(ValueError, match="shorter"):
        require_same_loss([9.0, 8.9], [9.0], dtype="fp32", peer="peer")
