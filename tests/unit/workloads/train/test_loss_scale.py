"""The factor of float16 gradients: when it moves, and that a checkpoint holds all of it."""

from typing import Any

import pytest

from deepseek_workloads.contract.run_config import Training
from deepseek_workloads.train.loss_scale import (
    FIRST_SCALE,
    GROWTH_STEPS,
    LARGEST_SCALE,
    LossScale,
    loss_scale_for,
)


def test_an_overflow_halves_it() -> None:
    scale = LossScale()
    scale.update(overflow=True)
    assert scale.value == FIRST_SCALE / 2


def test_many_good_steps_double_it_up_to_a_bound() -> None:
    scale = LossScale()
    for _ in range(GROWTH_STEPS):
        scale.update(overflow=False)
    assert scale.value == 2 * FIRST_SCALE
    for _ in range(20 * GROWTH_STEPS):
        scale.update(overflow=False)
    assert scale.value == LARGEST_SCALE


def test_it_is_exhausted_when_gradients_overflow_without_it() -> None:
    scale = LossScale()
    while not scale.exhausted:
        scale.update(overflow=True)
    assert scale.value < 1


def test_a_copy_goes_on_alike() -> None:
    scale, copy = LossScale(), LossScale()
    for _ in range(GROWTH_STEPS - 1):
        scale.update(overflow=False)
    copy.load(scale.state())
    copy.update(overflow=False)
    assert copy.value == 2 * FIRST_SCALE


HALF = {"modules": "model.layers.*.mlp", "precision": "fp16"}
BRAIN = {"modules": "model.layers.0", "precision": "bf16"}


@pytest.mark.parametrize(
    ("settings", "scaled"),
    [
        ({"precision": "fp16"}, True),
        ({"precision": "bf16"}, False),
        ({"precision": "bf16", "precision_overrides": [BRAIN, HALF]}, True),
        ({"precision": "fp32", "precision_overrides": [BRAIN]}, False),
    ],
)
def test_the_loss_is_scaled_where_anything_is_computed_in_float16(
    settings: dict[str, Any], scaled: bool
) -> None:
    training = Training.model_validate({"steps": 1, "global_batch_size": 1, **settings})
    assert (loss_scale_for(training) is not None) == scaled
