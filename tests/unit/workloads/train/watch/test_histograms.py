"""A histogram counts every value once, within its limits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.train.watch import histograms
from deepseek_workloads.train.watch.histograms import BINS, histogram


@pytest.mark.parametrize("at_once", [histograms.AT_ONCE, 7])
@given(values=st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=50))
def test_every_value_is_counted_once(values: list[float], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "AT_ONCE", at_once)
        made = histogram(torch.tensor(values))
    assert made is not None
    assert sum(made.counts) == made.number == len(values)
    assert (len(made.counts), len(made.limits)) == (BINS, BINS)
    assert made.limits == sorted(made.limits)
    assert made.smallest == pytest.approx(min(values), rel=1e-6)
    assert made.total == pytest.approx(sum(values), rel=1e-4, abs=1e-1)
    assert made.total_of_squares == pytest.approx(sum(value**2 for value in values), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "tensor", [torch.empty(0), torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("-inf")])]
)
def test_what_cannot_be_counted_has_none(tensor: torch.Tensor) -> None:
    assert histogram(tensor) is None
