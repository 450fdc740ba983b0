"""The demo ends well only when the model is better than the baseline."""

import pytest

from deepseek_demo.closing import location_lines, status_lines, verdict
from deepseek_demo.commands import StepFailed


def measured(ours: float, baseline: float) -> dict[str, float]:
    return {"held_out_bits_per_byte": ours, "unigram_bits_per_byte": baseline}


def test_the_models_bits_stand_beside_the_baselines() -> None:
    assert verdict(measured(2.4, 3.2)) == (
        "held-out text: 2.400 bits a byte; the unigram baseline has 3.200 (25 % fewer)"
    )


@pytest.mark.parametrize("ours", [3.2, 3.3])
def test_a_model_that_is_not_better_fails_the_demo(ours: float) -> None:
    with pytest.raises(StepFailed, match="has learnt nothing"):
        verdict(measured(ours, 3.2))


def test_a_missing_measurement_fails_the_demo() -> None:
    with pytest.raises(StepFailed, match="unigram_bits_per_byte"):
        verdict({"held_out_bits_per_byte": 2.0})


def test_a_location_is_a_uri_with_its_size() -> None:
    [line] = location_lines({"models/tiny-moe": (20, 79_700_000)}, "research")
    assert line.split() == ["s3://research/models/tiny-moe/", "20", "objects", "79.7", "MB"]


def test_conditions_are_told_in_the_order_in_which_they_came_about() -> None:
    job = {
        "status": {
            "conditions": [
                {"type": "Succeeded", "status": "True", "reason": "Completed", "lastTransitionTime": "2"},
                {"type": "Accepted", "status": "True", "reason": "Accepted", "lastTransitionTime": "1"},
            ]
        }
    }
    assert [line.split()[0] for line in status_lines(job)] == ["Accepted", "Succeeded"]
