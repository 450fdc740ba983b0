"""When which blocks are wanted, and given up. Pure."""

from itertools import pairwise

import numpy as np

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.read_ahead import ReadAhead
from deepseek_workloads.data.window_order import GROUP_BLOCKS

WINDOWS, BLOCK_WINDOWS = 2048, 32  # 8 groups of 8 blocks


def _plan(new_store, write_dataset, make_data) -> SamplePlan:
    return SamplePlan(make_data(), [write_dataset(new_store("a"), [4 * WINDOWS + 1], chunk_tokens=16)])


def _turns(plan: SamplePlan, *, samples: int, end_sample: int | None):
    ahead = ReadAhead(plan, end_sample=end_sample)
    batches = [plan.locate_many(np.arange(first, first + 16)) for first in range(0, samples, 16)]
    return [(batch, ahead.after(batch)) for batch in batches]


def test_the_next_group_is_wanted_when_one_is_entered(new_store, write_dataset, make_data) -> None:
    plan = _plan(new_store, write_dataset, make_data)
    turns = _turns(plan, samples=2 * WINDOWS, end_sample=None)
    wanting = [number for number, (_, turn) in enumerate(turns) if turn.wanted]
    a_group = GROUP_BLOCKS * BLOCK_WINDOWS // 16  # batches
    assert wanting == list(range(0, len(turns), a_group))
    for entered, following in pairwise(wanting):
        blocks = {
            block for batch, _ in turns[following : following + a_group] for block in batch.block.tolist()
        }
        assert {block for _, block in turns[entered][1].wanted} == blocks


def test_what_is_given_up_is_not_needed_in_the_rest_of_the_epoch(new_store, write_dataset, make_data) -> None:
    plan = _plan(new_store, write_dataset, make_data)
    turns = _turns(plan, samples=WINDOWS, end_sample=None)
    left = 0
    for number, (_, turn) in enumerate(turns):
        later = {block for batch, _ in turns[number:] for block in batch.block.tolist()}
        assert not {block for _, block in turn.left} & later
        left += len(turn.left)
    assert left >= 6 * GROUP_BLOCKS  # the next epoch may begin with some of the one before the last


def test_nothing_is_wanted_that_the_run_does_not_reach(new_store, write_dataset, make_data) -> None:
    plan = _plan(new_store, write_dataset, make_data)
    a_group = GROUP_BLOCKS * BLOCK_WINDOWS
    assert not any(turn.wanted for _, turn in _turns(plan, samples=a_group, end_sample=a_group))
