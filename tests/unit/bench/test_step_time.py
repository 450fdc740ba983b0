"""The plan's numbers are those of the fit, and what the fit is off by is what the documents say."""

import math
import statistics
import sys
from dataclasses import astuple
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from step_time import PUBLISHED, error, fit

from deepseek_workloads.plan.step_time import FITTED


def test_the_plan_has_the_numbers_of_the_fit() -> None:
    for planned, fitted in zip(astuple(FITTED), astuple(fit(PUBLISHED, smallest_step=1e-3)), strict=True):
        assert math.isclose(planned, fitted, rel_tol=0.02)


def test_most_published_rates_are_met_within_a_tenth() -> None:
    errors = [abs(error(point, FITTED)) for point in PUBLISHED]
    assert statistics.median(errors) < 0.1
    assert max(errors) < math.log(1.6)
