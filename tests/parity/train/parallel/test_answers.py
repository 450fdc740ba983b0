"""Ranks share prompts: each is continued by the ranks of one slice of the data, as one process would."""

from typing import Any

import pytest
from cases import Answered, Asked, answer
from rank_pool import RankPool

from deepseek_workloads.contract.run_config import Parallelism

# Of several lengths, one without tokens, one that leaves two positions free; the last round is not full.
PROMPTS = ((5, 9, 2), (7, 7, 1, 30, 8, 12), (), tuple(range(1, 63)), (40, 41))

LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "replicas": (2, {"zero_stage": 0}),
    "shards": (2, {"zero_stage": 3}),
    "experts": (2, {"zero_stage": 3, "expert_parallel_degree": 2}),
    "tensor slices": (2, {"tensor_parallel_degree": 2}),
    "shared sequences": (2, {"context_parallel_degree": 2}),
    "stages": (2, {"pipeline_parallel_degree": 2}),
    "experts beside shared sequences": (
        4,
        {"zero_stage": 3, "expert_parallel_degree": 2, "context_parallel_degree": 2},
    ),
    "experts beside tensor slices": (
        4,
        {"zero_stage": 3, "expert_parallel_degree": 2, "tensor_parallel_degree": 2},
    ),
    "experts in stages": (4, {"pipeline_parallel_degree": 2, "expert_parallel_degree": 2}),
}


@pytest.fixture(scope="module")
def alone(pool: RankPool) -> Answered:
    return ask(pool, Asked(PROMPTS), ranks=1)


@pytest.fixture(scope="module")
def ending(alone: Answered) -> int:
    """A token that ends some of the answers sooner than others."""
    return alone.of_ranks[0][0][2]


def ask(pool: RankPool, asked: Asked, *, ranks: int) -> Answered:
    found: Answered = pool.run(answer, ranks=ranks, argument=asked)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_rank_knows_the_answers_of_one_process(pool: RankPool, layout: str, alone: Answered) -> None:
    ranks, degrees = LAYOUTS[layout]
    found = ask(pool, Asked(PROMPTS, Parallelism(**degrees)), ranks=ranks)
    assert found.of_ranks == alone.of_ranks * ranks
    assert [len(answer) for answer in found.of_ranks[0]] == [6, 6, 0, 2, 6]


@pytest.mark.parametrize("layout", ["replicas", "experts"])
def test_answers_that_end_sooner_do_not_hold_up_the_others(
    pool: RankPool, layout: str, ending: int, alone: Answered
) -> None:
    ranks, degrees = LAYOUTS[layout]
    found = ask(pool, Asked(PROMPTS, Parallelism(**degrees), eos_token_id=ending), ranks=ranks)
    cut = [answer[: answer.index(ending)] if ending in answer else answer for answer in alone.of_ranks[0]]
    assert found.of_ranks == [cut] * ranks
    assert len(cut[0]) < len(cut[1]), "the other rank goes on"


def test_each_rank_reads_its_own_prompts_only(pool: RankPool) -> None:
    assert ask(pool, Asked(PROMPTS, Parallelism(zero_stage=0)), ranks=2).passes == [2, 2]
    assert ask(pool, Asked(PROMPTS), ranks=1).passes == [4]


def test_ranks_that_read_the_same_samples_continue_the_same_prompts(pool: RankPool) -> None:
    asked = Asked(PROMPTS, Parallelism(zero_stage=3, tensor_parallel_degree=2))
    assert ask(pool, asked, ranks=4).passes == [2] * 4
