"""The factor of float16 gradients: when it moves, and that a checkpoint holds all of it."""

from deepseek_workloads.train.loss_scale import FIRST_SCALE, GROWTH_STEPS, LARGEST_SCALE, LossScale


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
