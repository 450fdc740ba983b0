"""How a step's time follows from what is shared by whom."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.plan.accelerators import accelerator_of
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.step_time import Pass, tokens_per_second

V3, LITE = PRESETS["deepseek-v3"], PRESETS["deepseek-v3-16b"]
WORK = Pass(sequence_length=4096, sequences=1, passes=32)


def rate(work: Pass, product: str = "H100", precision: str = "bf16") -> float:
    gpu = accelerator_of(product)
    assert gpu is not None
    return tokens_per_second(V3, work, precision=precision, gpu=gpu)


@pytest.mark.parametrize(
    ("product", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA-H100-PCIe", "H100 PCIe"),
        ("NVIDIA-GB200", "GB200"),
        ("NVIDIA-B200", "B200"),
    ],
)
def test_products_are_known_by_the_names_of_cuda_and_of_nodes(product: str, known: str) -> None:
    found = accelerator_of(product)
    assert found is not None
    assert found.name == known


def test_other_products_are_not_guessed() -> None:
    assert accelerator_of("NVIDIA-GeForce-RTX-4090") is None
    assert accelerator_of("") is None


@given(passes=st.integers(8, 512), pipeline=st.sampled_from([2, 4, 8]))
def test_a_bubble_shrinks_with_passes_and_with_stages_a_rank(passes: int, pipeline: int) -> None:
    work = replace(WORK, passes=passes, pipeline=pipeline)
    assert rate(work) < rate(replace(work, passes=2 * passes)) < rate(WORK)
    assert rate(work) < rate(replace(work, stages_per_rank=2))


def test_exchange_costs_more_the_further_the_experts_are() -> None:
    rates = [rate(replace(WORK, expert=degree)) for degree in (1, 2, 8, 16, 64)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == len(rates)


def test_larger_passes_hide_what_each_layer_costs() -> None:
    assert rate(WORK) < rate(replace(WORK, sequences=2))


def test_layers_that_run_forward_again_cost_at_most_a_third_more_products() -> None:
    """Their products are a third of a step's; heads run once, and so does what each layer costs beside."""
    slower = rate(WORK) / rate(replace(WORK, recompute="full"))
    assert 1.2 < slower < 4 / 3
    assert rate(replace(WORK, recompute="selective")) == rate(WORK), "products are kept"


def test_experts_of_other_ranks_are_asked_again_by_layers_that_run_again() -> None:
    far = replace(WORK, expert=16)
    selective, full = replace(far, recompute="selective"), replace(far, recompute="full")
    assert rate(far) > rate(selective) > rate(full)


def test_float8_is_faster_and_never_twice_as_fast() -> None:
    assert 1 < rate(WORK, precision="fp8") / rate(WORK) < 2
