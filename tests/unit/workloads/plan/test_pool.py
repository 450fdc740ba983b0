"""The smallest pool is the first that fits, and a smaller GPU never needs fewer of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_workloads.plan.estimate import parameters
from deepseek_workloads.plan.pool import GIB, USABLE, smallest_pool
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_architecture

LADDER = {
    "transformer-5m": 5e6,
    "moe-30m": 30e6,
    "deepseek-v3-128m": 128e6,
    "deepseek-v3-1b": 1e9,
    "deepseek-v3-16b": 16e9,
    "deepseek-v3-236b": 236e9,
    "deepseek-v3": 671e9,
}


@pytest.mark.parametrize("name", LADDER)
def test_a_preset_of_the_ladder_has_the_size_of_its_name(name: str) -> None:
    assert parameters(PRESETS[name]) == pytest.approx(LADDER[name], rel=0.025)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_keeps_the_rules(name: str) -> None:
    assert check_architecture(PRESETS[name]) == []


@settings(max_examples=20)
@given(gpu=st.sampled_from([2, 8, 24, 80, 141]), name=st.sampled_from(sorted(LADDER)))
def test_the_pool_fits_and_a_larger_gpu_never_needs_more_of_them(gpu: int, name: str) -> None:
    def pool(gibibytes: int):
        return smallest_pool(
            PRESETS[name], sequence_length=2048, precision="bf16", gpu_memory_bytes=gibibytes * GIB
        )

    small, large = pool(gpu), pool(2 * gpu)

    assert small is None or small.memory_bytes <= USABLE * gpu * GIB
    assert small is None or (large is not None and large.gpus <= small.gpus)


def test_a_layer_that_fits_no_gpu_has_no_pool() -> None:
    v3 = PRESETS["deepseek-v3"]

    assert smallest_pool(v3, sequence_length=4096, precision="bf16", gpu_memory_bytes=8 * GIB) is None


def test_experts_of_deepseek_v3_are_spread_where_one_layer_of_them_fits_no_gpu() -> None:
    pool = smallest_pool(
        PRESETS["deepseek-v3"], sequence_length=4096, precision="bf16", gpu_memory_bytes=80 * GIB
    )

    assert pool is not None
    assert pool.expert > 1
    assert f"expertParallelDegree {pool.expert}" in str(pool)
