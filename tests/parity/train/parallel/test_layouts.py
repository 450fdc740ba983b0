"""Whatever the layout: the loss, every gradient and the curve of one process.

float64 is the proof: sums in another order may turn a choice of experts over in float32.
"""

from functools import cache
from typing import Any

import pytest
import torch
from cases import ARCHITECTURE, SEQUENCES, Observed, Steps, held, order_of_an_exchange, take_steps
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rank_pool import RankPool
from training_cases import run_config

from deepseek_workloads.contract.architecture import Architecture, Attention, Dropout, HeadGate, Indexer
from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.plan.pipeline import STAGES_PER_RANK, buffers, passes_held
from deepseek_workloads.plan.rules import check_training

PROOF = {"atol": 1e-11, "rtol": 1e-8}
FLOAT32 = {"atol": 2e-6, "rtol": 2e-4}

LOOKING_AHEAD = ARCHITECTURE.model_copy(update={"num_nextn_predict_layers": 1})
TIED = LOOKING_AHEAD.model_copy(update={"tie_word_embeddings": True})
ONE_QUERY_PROJECTION = ARCHITECTURE.model_copy(update={"q_lora_rank": None, "attention_bias": True})
LIMITED = ARCHITECTURE.model_copy(
    update={"moe": ARCHITECTURE.moe.model_copy(update={"expert_capacity_factor": 1.0})}
)
FOR_ALL_TOKENS = ARCHITECTURE.model_copy(
    update={"moe": ARCHITECTURE.moe.model_copy(update={"load_balance_loss_weight": 0.1})}
)

SPARSE = LOOKING_AHEAD.model_copy(
    update={"indexer": Indexer(index_n_heads=2, index_head_dim=8, index_topk=6)}
)

WARMING_UP = SPARSE.model_copy(
    update={"indexer": Indexer(index_n_heads=2, index_head_dim=8, index_topk=6, stage="warmup")}
)

MIXTRAL = ARCHITECTURE.model_copy(
    update={
        "attention": Attention(kind="gqa", num_key_value_heads=2),
        "moe": ARCHITECTURE.moe.model_copy(
            update={"scoring_func": "softmax", "n_group": 1, "topk_group": 1, "bias_update_speed": 0.0}
        ),
    }
)

GATED = LOOKING_AHEAD.model_copy(
    update={
        "attention": LOOKING_AHEAD.attention.model_copy(update={"head_gate": HeadGate(penalty_weight=0.1)})
    }
)
DROPPED = GATED.model_copy(update={"dropout": Dropout(attention=0.2, residual=0.1, embedding=0.1)})

Case = tuple[int, dict[str, Any], Architecture]
INTERLEAVED, ZERO_BUBBLE, DUAL = "Interleaved1F1B", "ZBVZeroBubble", "DualPipeV"


def degrees(
    *, zero: int = 2, copies: int = 1, ep: int = 1, tp: int = 1, cp: int = 1, pp: int = 1, order: str = "1F1B"
) -> dict[str, Any]:
    return {
        "zero_stage": zero,
        "data_parallel_replicate_degree": copies,
        "expert_parallel_degree": ep,
        "tensor_parallel_degree": tp,
        "context_parallel_degree": cp,
        "pipeline_parallel_degree": pp,
        "pipeline_parallel_schedule": order,
    }


QUICK: dict[str, Case] = {
    "experts of 2": (2, degrees(ep=2), LOOKING_AHEAD),
    "experts of 2, frozen": (2, degrees(ep=2), WARMING_UP),
    "experts of 2, sparse attention": (2, degrees(zero=3, ep=2), SPARSE),
    "experts of 2, softmax": (2, degrees(ep=2), MIXTRAL),
    "pipeline of 2": (2, degrees(pp=2), LOOKING_AHEAD),
    "tensor 2, experts 4 over copies": (8, degrees(zero=3, copies=2, tp=2, ep=4), LOOKING_AHEAD),
    "gates and dropout, experts over copies": (4, degrees(zero=3, copies=2, ep=2), DROPPED),
    "every degree": (8, degrees(zero=3, pp=2, cp=2, tp=2, ep=4, order=DUAL), ARCHITECTURE),
}
WIDE: dict[str, Case] = {
    "sparse attention, experts": (4, degrees(zero=3, ep=2), SPARSE),
    "sparse attention, ZeRO 1": (2, degrees(zero=1), SPARSE),
    "sparse attention, shards": (4, degrees(zero=3), SPARSE),
    "sparse attention, copies of shards": (4, degrees(copies=2), SPARSE),
    "softmax, shards": (4, degrees(zero=3), MIXTRAL),
    "softmax, pipeline, experts": (4, degrees(pp=2, ep=2), MIXTRAL),
    "sparse attention, pipeline, experts": (8, degrees(pp=2, ep=4, order=INTERLEAVED), SPARSE),
    "dropout of replicas": (2, degrees(zero=0), DROPPED),
    "gates, pipeline": (2, degrees(pp=2), GATED),
    "gates, context": (2, degrees(cp=2), GATED.model_copy(update={"num_nextn_predict_layers": 0})),
    "replicas": (2, degrees(zero=0), LOOKING_AHEAD),
    "ZeRO 1": (2, degrees(zero=1), LOOKING_AHEAD),
    "ZeRO 2": (4, degrees(zero=2), LOOKING_AHEAD),
    "ZeRO 3": (8, degrees(zero=3), LOOKING_AHEAD),
    "copies of shards": (4, degrees(copies=2), LOOKING_AHEAD),
    "experts of replicas": (4, degrees(zero=0, ep=2), LOOKING_AHEAD),
    "experts, shards": (4, degrees(zero=3, ep=2), LOOKING_AHEAD),
    "experts of 8": (8, degrees(ep=8), LOOKING_AHEAD),
    "experts with a capacity": (4, degrees(ep=2), LIMITED),
    "balance over all tokens": (4, degrees(ep=2, cp=2), FOR_ALL_TOKENS),
    "tensor": (2, degrees(tp=2), LOOKING_AHEAD),
    "tensor of 4": (4, degrees(tp=4), ONE_QUERY_PROJECTION),
    "tensor, tied": (4, degrees(tp=2), TIED),
    "tensor of replicas": (4, degrees(zero=0, tp=2), LOOKING_AHEAD),
    "tensor, experts with a capacity": (4, degrees(tp=2, ep=2), LIMITED),
    "context": (2, degrees(cp=2), ARCHITECTURE),
    "context of 4": (8, degrees(zero=1, cp=4), ONE_QUERY_PROJECTION),
    "context, tensor, experts": (8, degrees(cp=2, tp=2, ep=8), ARCHITECTURE),
    "pipeline of 4": (4, degrees(pp=4), LOOKING_AHEAD),
    "pipeline, tied": (4, degrees(pp=2), TIED),
    "pipeline, interleaved": (2, degrees(pp=2, order=INTERLEAVED), LOOKING_AHEAD),
    "pipeline, zero bubble": (2, degrees(pp=2, order=ZERO_BUBBLE), ARCHITECTURE),
    "pipeline, dual": (4, degrees(pp=2, order=DUAL), ARCHITECTURE),
    "pipeline of replicas": (4, degrees(zero=0, pp=2), LOOKING_AHEAD),
    "pipeline, tensor, shards": (8, degrees(zero=3, pp=2, tp=2), LOOKING_AHEAD),
    "pipeline, context, experts": (8, degrees(pp=2, cp=2, ep=4, order=INTERLEAVED), ARCHITECTURE),
    "pipeline, zero bubble, tensor": (8, degrees(pp=2, tp=2, ep=2, order=ZERO_BUBBLE), ARCHITECTURE),
}
# Of schedules that run a stage's backward pass whole: the others may not recompute layers.
RECOMPUTED_STAGES: dict[str, Case] = {
    "pipeline, experts": (4, degrees(zero=1, pp=2, ep=2), LOOKING_AHEAD),  # as DeepSeek-V3's, but for sizes
    "pipeline, interleaved, ZeRO 3": (4, degrees(zero=3, pp=2, order=INTERLEAVED), LOOKING_AHEAD),
}


@pytest.fixture(scope="session")
def alone(pool: RankPool) -> Any:
    """What one process computes, once for each question."""

    @cache
    def computed(document: str, dtype: torch.dtype, steps: int, without: tuple[int, ...]) -> Observed:
        architecture = Architecture.model_validate_json(document)
        asked = Steps(architecture=architecture, dtype=dtype, steps=steps, unreachable=without)
        return pool.run(take_steps, ranks=1, argument=asked)

    def of(asked: Steps) -> Observed:
        document = asked.architecture.to_json().decode()
        return computed(document, asked.dtype, asked.steps, asked.unreachable)

    return of


def check(pool: RankPool, alone: Any, ranks: int, asked: Steps, tolerance: dict[str, float]) -> None:
    """Loss and its parts, the norm, the load of experts, and the gradient of each parameter."""
    expected, found = alone(asked), pool.run(take_steps, ranks=ranks, argument=asked)
    close = max(tolerance["rtol"] * 1e-3, 1e-12)
    assert found.losses == pytest.approx(expected.losses, rel=close)
    for mine, theirs in zip(found.auxiliary, expected.auxiliary, strict=True):
        assert mine == pytest.approx(theirs, rel=close * 10)
    assert found.norms == pytest.approx(expected.norms, rel=tolerance["rtol"])
    assert found.loads == pytest.approx(expected.loads)
    assert found.busiest == expected.busiest
    assert found.sample_ids == expected.sample_ids
    torch.testing.assert_close(found.gradients, expected.gradients, **tolerance)


def check_curve(pool: RankPool, alone: Any, ranks: int, asked: Steps) -> None:
    expected, found = alone(asked), pool.run(take_steps, ranks=ranks, argument=asked)

    assert found.losses == pytest.approx(expected.losses, rel=1e-8)
    assert found.losses[-1] < found.losses[0]
    torch.testing.assert_close(found.weights, expected.weights, atol=1e-6, rtol=1e-6)


def named(cases: dict[str, Case], *, slow: bool = False) -> Any:
    marks = [pytest.mark.slow] if slow else []
    return [pytest.param(*case, id=name, marks=marks) for name, case in cases.items()]


def test_ranks_compute_while_rows_travel_and_while_gradients_do(pool: RankPool) -> None:
    events = pool.run(order_of_an_exchange, ranks=2, argument=None)
    assert events == ["begin", "meanwhile", "wait", "begin", "its backward pass", "wait"]


@pytest.mark.parametrize(("ranks", "parallelism", "architecture"), [*named(QUICK), *named(WIDE, slow=True)])
def test_loss_and_gradients_are_those_of_one_process(
    pool: RankPool, alone: Any, ranks: int, parallelism: dict[str, Any], architecture: Architecture
) -> None:
    check(pool, alone, ranks, Steps(Parallelism(**parallelism), architecture=architecture), PROOF)


@pytest.mark.parametrize(
    ("ranks", "parallelism", "architecture"), [*named(QUICK, slow=True), *named(WIDE, slow=True)]
)
def test_float32_agrees_as_far_as_it_carries(
    pool: RankPool, alone: Any, ranks: int, parallelism: dict[str, Any], architecture: Architecture
) -> None:
    asked = Steps(Parallelism(**parallelism), architecture=architecture, dtype=torch.float32)
    check(pool, alone, ranks, asked, FLOAT32)


@pytest.mark.parametrize(
    ("ranks", "parallelism", "architecture"),
    [
        *named({"tensor 2, experts 4 over copies": QUICK["tensor 2, experts 4 over copies"]}),
        *named({**QUICK, **{n: WIDE[n] for n in ("ZeRO 2", "replicas", "pipeline, interleaved")}}, slow=True),
    ],
)
def test_twenty_steps_give_the_same_curve_and_weights(
    pool: RankPool, alone: Any, ranks: int, parallelism: dict[str, Any], architecture: Architecture
) -> None:
    """AdamW multiplies differences of gradients below its epsilon by learning rate / epsilon at each step."""
    check_curve(pool, alone, ranks, Steps(Parallelism(**parallelism), architecture=architecture, steps=20))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "selective"])
@pytest.mark.parametrize(
    ("ranks", "parallelism", "architecture"),
    named({"1F1B": QUICK["pipeline of 2"], "interleaved": WIDE["pipeline, interleaved"]}),
)
def test_twenty_steps_of_stages_that_compute_layers_twice_give_the_same_curve_and_weights(
    pool: RankPool, alone: Any, ranks: int, parallelism: dict[str, Any], architecture: Architecture, mode: Any
) -> None:
    asked = Steps(Parallelism(**parallelism), architecture=architecture, steps=20, recomputed=mode)
    check_curve(pool, alone, ranks, asked)


@pytest.mark.parametrize(
    ("ranks", "order"),
    [
        (2, INTERLEAVED),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((4, "1F1B"), (2, ZERO_BUBBLE), (2, DUAL))),
    ],
)
def test_a_pipeline_holds_as_many_passes_and_buffers_as_the_plan_counts(
    pool: RankPool, ranks: int, order: Any
) -> None:
    """Of all stages but two: the first receives no hidden states, the last no gradients."""
    found = pool.run(held, ranks=ranks, argument=Steps(Parallelism(**degrees(pp=ranks, order=order))))

    of_rank = STAGES_PER_RANK[order]
    planned = passes_held(SEQUENCES, ranks=ranks, schedule=order) * ranks * of_rank
    assert max(each.passes for each in found) == planned
    all_buffers = buffers(SEQUENCES, ranks=ranks, schedule=order) * ranks
    assert sum(each.buffers for each in found) == all_buffers - 2 * SEQUENCES


@pytest.mark.parametrize(
    ("ranks", "parallelism", "architecture"),
    [
        *named({n: QUICK[n] for n in ("experts of 2", "pipeline of 2")}),
        *named({n: WIDE[n] for n in ("ZeRO 3", "tensor", "context", "sparse attention, experts")}, slow=True),
        *named({n: QUICK[n] for n in ("tensor 2, experts 4 over copies",)}, slow=True),
        *named({n: WIDE[n] for n in ("pipeline, interleaved", "pipeline of replicas")}, slow=True),
        *named(RECOMPUTED_STAGES, slow=True),
    ],
)
@pytest.mark.parametrize("mode", ["full", "selective"])
def test_layers_that_are_computed_twice_have_the_same_gradients(
    pool: RankPool, alone: Any, ranks: int, parallelism: dict[str, Any], architecture: Architecture, mode: Any
) -> None:
    asked = Steps(Parallelism(**parallelism), architecture=architecture, recomputed=mode)
    check(pool, alone, ranks, asked, PROOF)


@pytest.mark.parametrize(
    ("ranks", "parallelism", "architecture"),
    [
        *named({"pipeline of 2": QUICK["pipeline of 2"]}),
        *named({n: QUICK[n] for n in ("experts of 2", "every degree")}, slow=True),
    ],
)
def test_a_loss_that_is_scaled_has_the_same_gradients(
    pool: RankPool, alone: Any, ranks: int, parallelism: dict[str, Any], architecture: Architecture
) -> None:
    """By a power of two, so that no rounding differs."""
    asked = Steps(Parallelism(**parallelism), architecture=architecture, scaled=True)
    check(pool, alone, ranks, asked, PROOF)


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_process_none_of_whose_experts_gets_a_token_takes_part(
    pool: RankPool, alone: Any, ranks: int
) -> None:
    asked = Steps(Parallelism(expert_parallel_degree=ranks), unreachable=(0, 1, 2, 3))

    check(pool, alone, ranks, asked, PROOF)

    for name, gradient in alone(asked).gradients.items():
        if ".mlp.experts." in name:
            assert gradient[:4].count_nonzero() == 0
            assert gradient[4:].count_nonzero() > 0


@st.composite
def layouts(draw: st.DrawFn) -> Case:
    """Any one of 2, 4 or 8 processes that the rules accept of a model."""
    architecture = draw(st.sampled_from([ARCHITECTURE, LOOKING_AHEAD, SPARSE, MIXTRAL]))
    ranks = draw(st.sampled_from([2, 4, 8]))
    degree = st.sampled_from([1, 2, 4])
    order = draw(st.sampled_from(sorted(STAGES_PER_RANK)))
    zero = draw(st.integers(0, 3))
    asked = degrees(
        zero=zero,
        copies=draw(degree) if zero else 1,
        ep=draw(st.sampled_from([1, 2, 4, 8])),
        tp=draw(degree),
        cp=draw(degree),
        pp=draw(degree),
        order=order,
    )
    run = run_config(
        "file:///anywhere",
        "file:///anywhere",
        world_size=ranks,
        architecture=architecture,
        global_batch_size=SEQUENCES,
        micro_batch_size=1,
        parallelism=asked,
    )
    assume(not check_training(run))
    return ranks, asked, architecture


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(drawn=layouts())
def test_any_valid_layout_has_the_gradients_of_one_process(pool: RankPool, alone: Any, drawn: Case) -> None:
    ranks, asked, architecture = drawn

    check(pool, alone, ranks, Steps(Parallelism(**asked), architecture=architecture), PROOF)
