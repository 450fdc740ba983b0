"""Every rank has one place; who shares samples, weights and experts follows from it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.plan.layout import Layout, layout_of
from deepseek_workloads.plan.pipeline import STAGES_PER_RANK, buffers, enough_passes, passes_held, stages

degrees = st.sampled_from([1, 2, 3, 4])


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    return Layout(
        pipeline=draw(degrees),
        replicate=draw(degrees),
        shard=draw(degrees),
        context=draw(degrees),
        tensor=draw(degrees),
        sharded=draw(st.booleans()),
    )


@given(layout=layouts())
def test_every_rank_has_a_place_of_its_own(layout: Layout) -> None:
    places = [layout.place(rank) for rank in range(layout.world_size)]

    assert len(set(places)) == layout.world_size


@given(layout=layouts())
def test_every_slice_of_the_data_is_read_by_as_many_ranks_and_led_by_one(layout: Layout) -> None:
    ranks = range(layout.world_size)
    readers = Counter(layout.data_rank(rank) for rank in ranks)

    assert set(readers) == set(range(layout.data))
    assert set(readers.values()) == {layout.world_size // layout.data}
    assert [layout.data_rank(rank) for rank in ranks if layout.leads_data(rank)] == list(range(layout.data))


@given(layout=layouts())
def test_the_meshes_cover_the_world(layout: Layout) -> None:
    for shape in (layout.dense, layout.experts):
        size = 1
        for degree in shape:
            size *= degree
        assert size == layout.world_size


def test_tensor_slices_are_neighbours_and_stages_are_far_apart() -> None:
    layout = Layout(pipeline=2, shard=2, tensor=2)

    assert [layout.place(rank).tensor for rank in range(8)] == [0, 1] * 4
    assert [layout.place(rank).pipeline for rank in range(8)] == [0] * 4 + [1] * 4


def test_data_parallelism_takes_the_ranks_that_the_other_degrees_leave() -> None:
    parallelism = Parallelism(zero_stage=3, tensor_parallel_degree=2, data_parallel_replicate_degree=2)

    assert layout_of(parallelism, 16) == Layout(replicate=2, shard=4, tensor=2)


def test_without_shards_every_data_parallel_rank_is_a_copy() -> None:
    assert layout_of(Parallelism(zero_stage=0), 4) == Layout(replicate=4, sharded=False)


def test_a_world_that_the_degrees_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="6 ranks: must be a multiple of 4"):
        layout_of(Parallelism(tensor_parallel_degree=4), 6)


schedules = st.sampled_from(sorted(STAGES_PER_RANK))


@given(ranks=st.integers(2, 8), schedule=schedules, more=st.integers(0, 20))
def test_stages_hold_every_layer_once_in_order_and_evenly(ranks: int, schedule: str, more: int) -> None:
    layers = ranks * STAGES_PER_RANK[schedule] + more

    made = stages(layers, ranks=ranks, schedule=schedule)

    assert [layer for stage in made for layer in stage.layers] == list(range(layers))
    sizes = [len(stage.layers) for stage in made]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[-1] == min(sizes)
    assert Counter(stage.rank for stage in made) == dict.fromkeys(range(ranks), STAGES_PER_RANK[schedule])
    assert [stage.last for stage in made] == [False] * (len(made) - 1) + [True]


def test_mirrored_stages_end_where_they_began() -> None:
    made = stages(8, ranks=4, schedule="DualPipeV")

    assert [stage.rank for stage in made] == [0, 1, 2, 3, 3, 2, 1, 0]


@given(ranks=st.integers(2, 16), schedule=schedules, rounds=st.integers(2, 9))
def test_twice_the_ranks_are_passes_enough_for_every_schedule(ranks: int, schedule: str, rounds: int) -> None:
    assert enough_passes(ranks * rounds, ranks=ranks, schedule=schedule)
    assert not enough_passes(ranks - 1, ranks=ranks, schedule=schedule)


@given(ranks=st.integers(2, 16), schedule=schedules, rounds=st.integers(2, 9))
def test_a_pipeline_holds_all_layers_once_or_up_to_half_as_often_again(
    ranks: int, schedule: str, rounds: int
) -> None:
    held = passes_held(ranks * rounds, ranks=ranks, schedule=schedule)

    assert 1 <= held < 1.5
    assert (held == 1) == (schedule in ("1F1B", "ZBVZeroBubble"))
    assert passes_held(1, ranks=ranks, schedule=schedule) * ranks == 1


@given(passes=st.integers(1, 64), schedule=schedules)
def test_a_model_that_is_whole_waits_for_one_pass_at_a_time_and_receives_none(
    passes: int, schedule: str
) -> None:
    assert passes_held(passes, ranks=1, schedule=schedule) == 1
    assert buffers(passes, ranks=1, schedule=schedule) == 0
