"""The plan's numbers are those of the fit, and what the fit is off by is what the documents say."""

import json
import math
import statistics
import sys
from dataclasses import astuple, replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from scaling_points import points_of
from step_time import error, estimated, fit
from step_time_points import PUBLISHED

from deepseek_workloads.plan.step_time import FITTED, Fitted


def test_the_plan_has_the_numbers_of_the_fit() -> None:
    for planned, fitted in zip(astuple(FITTED), astuple(fit(PUBLISHED, smallest_step=1e-3)), strict=True):
        assert math.isclose(planned, fitted, rel_tol=0.02)


def test_most_published_rates_are_met_within_a_tenth() -> None:
    errors = [abs(error(point, FITTED)) for point in PUBLISHED]
    assert statistics.median(errors) < 0.1
    assert max(errors) < math.log(1.6)


def _line(point: str, value: float) -> str:
    return json.dumps({"bench": "scaling", "point": point, "value": value})


def test_lines_of_a_machine_are_rates_of_a_core() -> None:
    lines = [
        _line("core-fp32", 100.0),
        _line("link", 2.0),
        _line("8M-512-fp32-alone", 2000.0),
        _line("60M-512-fp32-ep-2", 800.0),
        "# another line",
    ]
    alone, shared = points_of(lines)
    assert (alone.rate, alone.work.tokens, alone.gpu.flops("fp32")) == (2000.0, 2048, 1e11)
    assert (shared.rate, shared.work.expert, shared.gpu.link_bytes) == (400.0, 2, 2e9)


def test_rates_without_the_machine_that_they_are_of_are_refused() -> None:
    with pytest.raises(ValueError, match="core-fp32 and link"):
        points_of([_line("8M-512-fp32-alone", 2000.0)])


def test_a_fit_finds_the_numbers_that_made_the_rates() -> None:
    truth = Fitted(0.6, 2e-3, 1e-3, 1.0)
    made = [replace(point, rate=estimated(point, truth)) for point in PUBLISHED]
    assert max(abs(error(point, fit(made, smallest_step=1e-3))) for point in made) < 0.05
