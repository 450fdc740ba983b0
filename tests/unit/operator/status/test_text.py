"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deepseek_operator.api.schema import MAX_MEASUREMENTS
from deepseek_operator.api.training_data import DataSource, EvaluationSource
from deepseek_operator.status.text import duration, long, loss, named_values, percent, short, short_digest
from deepseek_workloads.contract.retention import ANSWER_METRICS, HELD_OUT_METRICS


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (-5, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (4320, "1h12m"),
        (3601, "1h"),
        (90061, "1d1h"),
        (86400 * 400, "400d"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("done", "total", "text"), [(0, 0, ""), (0, 9, "0%"), (999, 1000, "99%"), (9, 9, "100%"), (10, 9, "100%")]
)
def test_percent(done: int, total: int, text: str) -> None:
    assert percent(done, total) == text


@given(done=st.integers(0, 10**9), total=st.integers(1, 10**9))
def test_a_hundred_percent_means_done(done: int, total: int) -> None:
    assert (percent(done, total) == "100%") == (done >= total)


@pytest.mark.parametrize(("value", "text"), [(2.34567, "2.3457"), (float("nan"), "NaN"), (1e9, "1e+09")])
def test_loss(value: float, text: str) -> None:
    assert loss(value) == text


@given(st.text(max_size=9000))
def test_texts_keep_within_the_bounds_of_the_schema(text: str) -> None:
    assert len(short(text)) <= 256
    assert len(long(text)) <= 4096


def test_short_digest() -> None:
    assert short_digest("sha256:0123456789abcdef") == "0123456789ab"


def test_every_figure_of_every_evaluation_set_has_a_place_of_its_own() -> None:
    sources = [EvaluationSource(name=f"{'n' * 39}{number}", uri="s3://sets/a") for number in range(4)]
    metrics = [*HELD_OUT_METRICS, *ANSWER_METRICS]
    of_sets = [
        f"{source.name}/{metric.removeprefix('held_out_')}" for source in sources for metric in metrics
    ]
    figures = dict.fromkeys([*metrics, "quantised_held_out_loss", "unigram_bits_per_byte", *of_sets], 1.0)
    assert [each.name for each in named_values(figures, limit=MAX_MEASUREMENTS)] == sorted(figures)


def test_a_name_that_would_be_cut_beside_a_figures_is_refused_of_an_evaluation_set_only() -> None:
    DataSource(name="n" * 41, uri="s3://sets/a")
    with pytest.raises(ValidationError, match="at most 40"):
        EvaluationSource(name="n" * 41, uri="s3://sets/a")
