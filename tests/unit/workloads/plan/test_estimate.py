"""Sizes of published models come out as their reports print them; memory follows ZeRO."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.objective import Consolidation, Lora
from deepseek_workloads.contract.run_config import (
    Checkpoint,
    Data,
    Owner,
    PipelineSchedule,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.estimate import (
    active_parameters,
    choose_micro_batch_size,
    estimate,
    flops_per_token,
    parameters,
)
from deepseek_workloads.plan.layout import Layout
from deepseek_workloads.plan.memory import estimate_memory
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.tensors import elements, layer_shapes, parameter_shapes

WITHOUT_MODULE = PRESETS["deepseek-v3"].model_copy(update={"num_nextn_predict_layers": 0})


def run(**workers: int) -> TrainingRun:
    storage = Storage(uri="s3://models/tiny")
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=512),
        training=Training(steps=100, global_batch_size=64),
        workers=Workers(**{"num_nodes": 2, **workers}),
        storage=storage,
    )


def test_deepseek_v3_has_671_billion_parameters_of_which_37_are_active() -> None:
    v3 = PRESETS["deepseek-v3"]

    assert parameters(WITHOUT_MODULE) == 671_026_404_352  # the published safetensors without the MTP layer
    assert active_parameters(v3) == active_parameters(WITHOUT_MODULE)
    assert active_parameters(v3) // 10**9 == 37


def test_the_module_of_deepseek_v3_is_one_more_layer_with_what_joins_it_to_the_model() -> None:
    v3 = PRESETS["deepseek-v3"]

    own = parameters(v3) - parameters(WITHOUT_MODULE)

    assert own == elements(layer_shapes(v3, 60)) + 2 * 7168 * 7168 + 3 * 7168
    assert flops_per_token(v3, sequence_length=4096) > flops_per_token(WITHOUT_MODULE, sequence_length=4096)


def test_deepseek_v2_lite_sizes_have_16_billion_parameters() -> None:
    assert round(parameters(PRESETS["deepseek-v3-16b"]) / 1e9, 1) == 15.7


def test_flops_of_deepseek_v3_agree_with_its_report() -> None:
    # arXiv:2412.19437, section 1: 14.8T tokens took 2.664M H800 hours; at 989 TFLOPS (dense bf16) of a GPU
    # the known utilisation is 39%.
    utilisation = flops_per_token(WITHOUT_MODULE, sequence_length=4096) * 14.8e12 / (2.664e6 * 3600)

    assert utilisation / 989e12 == pytest.approx(0.39, abs=0.01)


def test_an_indexer_saves_no_products_for_what_it_has_not_chosen_is_hidden_by_a_mask() -> None:
    sparse = PRESETS["deepseek-v32"]
    dense = sparse.model_copy(update={"indexer": None})
    ours, plain = (flops_per_token(each, sequence_length=65536) for each in (sparse, dense))
    assert ours > plain


def test_an_untied_embedding_costs_no_products_and_a_tied_one_those_of_the_head() -> None:
    tiny = PRESETS["deepseek-v3-tiny"]
    tied = tiny.model_copy(update={"tie_word_embeddings": True})

    assert parameters(tiny) - parameters(tied) == tiny.vocab_size * tiny.hidden_size
    assert flops_per_token(tiny, sequence_length=512) == flops_per_token(tied, sequence_length=512)


@given(world=st.sampled_from([2, 4, 8, 64, 1024]), precision=st.sampled_from(["fp32", "bf16"]))
def test_a_higher_zero_stage_never_needs_more_memory(world: int, precision: str) -> None:
    def states(stage: int) -> int:
        return estimate_memory(
            PRESETS["deepseek-v3"],
            zero_stage=stage,
            layout=Layout(shard=world),
            precision=precision,
            micro_batch_size=1,
            sequence_length=4096,
        ).states

    needed = [states(stage) for stage in (1, 2, 3)]
    assert needed == sorted(needed, reverse=True)


def test_without_sharding_a_float32_rank_holds_16_bytes_a_parameter() -> None:
    tiny = PRESETS["deepseek-v3-tiny"]

    memory = estimate_memory(
        tiny,
        zero_stage=0,
        layout=Layout(replicate=4, sharded=False),
        precision="fp32",
        micro_batch_size=1,
        sequence_length=512,
    )

    assert memory.states == 16 * parameters(tiny)


def learning(**settings: object) -> TrainingRun:
    plain = run(num_nodes=1)
    return plain.model_copy(update={"training": plain.training.model_copy(update=settings)})


def test_lora_has_gradients_and_moments_of_what_it_adds_alone() -> None:
    adapted = estimate(learning(lora=Lora(rank=2, targets=["*.self_attn.kv_b_proj"]))).memory
    added = 4 * 2 * (4 * (32 + 32) + 64)  # layers, rank, heads' keys and values, latent
    assert adapted.weights == estimate(learning()).memory.weights
    assert adapted.gradients + adapted.optimizer == pytest.approx((4 + 2 * 4) * added, abs=2)


def test_consolidation_holds_two_more_copies_of_the_weights() -> None:
    plain, held = learning(), learning(consolidation=Consolidation(source="docs"))
    added = estimate(held).memory.states - estimate(plain).memory.states
    assert added == 2 * 4 * parameters(plain.architecture)


@pytest.mark.parametrize("degree", ["pipeline", "tensor", "expert", "shard"])
def test_more_ranks_of_any_degree_never_hold_more_each(degree: str) -> None:
    def states(layout: Layout) -> int:
        return estimate_memory(
            PRESETS["deepseek-v3"],
            zero_stage=3,
            layout=layout,
            precision="bf16",
            micro_batch_size=1,
            sequence_length=4096,
        ).states

    more = replace(Layout(shard=64), **{degree: 128 if degree == "shard" else 8})
    assert states(more) <= states(Layout(shard=64))


def test_the_estimate_of_a_run_adds_up() -> None:
    plan = estimate(run())

    assert plan.tokens_per_step == 64 * 512
    memory = plan.memory
    assert plan.memory_bytes_per_rank == memory.states + memory.activations + memory.logits + memory.held


def activations_of_v3(*, passes: int = 64, schedule: PipelineSchedule = "1F1B", **settings: bool) -> int:
    return estimate_memory(
        PRESETS["deepseek-v3"],
        zero_stage=1,
        layout=Layout(pipeline=16, shard=128, expert=64),
        precision="bf16",
        micro_batch_size=1,
        sequence_length=4096,
        gpu=True,
        passes=passes,
        schedule=schedule,
        **settings,
    ).activations


def test_a_recomputed_stage_keeps_inputs_of_layers_buffers_and_one_layer() -> None:
    hidden_states = 2 * 4096 * 7168
    kept = 62 * hidden_states  # 16 passes through the 4 layers of a stage are as one through all, and MTP's
    received = 2 * 64 * hidden_states

    last = 12 * hidden_states  # norms after the layers, and what joins MTP's layer to them

    recomputed = activations_of_v3(recompute=True)

    of_a_layer = (activations_of_v3() - received - last) / 62
    assert recomputed - kept - received - last == pytest.approx(of_a_layer, rel=0.05)


def test_every_pass_more_of_a_step_takes_two_buffers_of_a_stage() -> None:
    more = activations_of_v3(passes=80) - activations_of_v3(passes=64)
    assert more == 16 * 2 * 2 * 4096 * 7168


@pytest.mark.parametrize("recompute", [False, True])
def test_interleaved_stages_keep_half_as_many_passes_more(recompute: bool) -> None:
    plain, interleaved = (
        activations_of_v3(schedule=schedule, recompute=recompute) for schedule in ("1F1B", "Interleaved1F1B")
    )
    buffers = 2 * 64 * 2 * 4096 * 7168  # of a rank's second stage
    held = 62 * 2 * 4096 * 7168 if recompute else plain - buffers
    assert interleaved - plain - buffers == pytest.approx(held * 15 / 32, rel=0.02)


def test_gradients_of_a_single_pass_come_as_activations_go() -> None:
    def peak(**settings: object) -> int:
        return estimate(learning(**settings)).memory.tensors

    memory = estimate(learning(micro_batch_size=64)).memory
    assert not memory.gradients_stay
    assert memory.activations > memory.gradients
    assert peak(micro_batch_size=64) == memory.states - memory.gradients + memory.activations + memory.logits
    assert estimate(learning(micro_batch_size=32)).memory.gradients_stay


def test_replicas_keep_the_buckets_of_their_gradients() -> None:
    assert estimate(run(num_nodes=2)).memory.gradients_stay


def test_a_cpu_holds_more_than_tensors_and_a_gpu_does_not() -> None:
    assert estimate(learning()).memory.held > 0
    assert estimate(run(num_nodes=1, gpus_per_node=1)).memory.held == 0


@given(nodes=st.sampled_from([1, 2, 4, 8]), memory_mib=st.sampled_from([16, 256, 1024, 65536]))
def test_the_chosen_micro_batch_divides_the_batch_of_a_rank(nodes: int, memory_mib: int) -> None:
    asked = run(num_nodes=nodes, memory_bytes=memory_mib * 2**20)

    assert (64 // nodes) % choose_micro_batch_size(asked) == 0


def test_less_memory_never_means_a_larger_micro_batch() -> None:
    sizes = [choose_micro_batch_size(run(memory_bytes=2**20 * mib)) for mib in (16, 256, 512, 1024, 65536)]

    assert sizes == sorted(sizes)


@pytest.mark.parametrize(("optimizer", "moments"), [("adamw", 2), ("amf", 3)])
def test_each_moment_of_an_optimizer_is_four_bytes_a_parameter(optimizer: str, moments: int) -> None:
    assert optimizer_bytes("deepseek-v3-tiny", optimizer) == 4 * moments * parameters(
        PRESETS["deepseek-v3-tiny"]
    )


@pytest.mark.parametrize("preset", ["deepseek-v3-tiny", "transformer-5m"])
def test_muon_has_one_moment_of_what_it_makes_orthogonal(preset: str) -> None:
    shapes = parameter_shapes(PRESETS[preset])
    ends = ("embed_tokens.weight", "lm_head.weight")
    others = {n: s for n, s in shapes.items() if len(s) < 2 or n.endswith(ends)}

    assert optimizer_bytes(preset, "muon") == 4 * (elements(shapes) + elements(others))


def optimizer_bytes(preset: str, optimizer: str) -> int:
    return estimate_memory(
        PRESETS[preset],
        zero_stage=0,
        layout=Layout(sharded=False),
        precision="fp32",
        micro_batch_size=1,
        sequence_length=512,
        optimizer=optimizer,
    ).optimizer


@pytest.mark.parametrize(("workers", "share"), [({}, 2), ({"num_nodes": 1}, 1), ({"gpus_per_node": 1}, None)])
def test_checkpoints_in_the_background_cost_a_copy_of_what_a_rank_writes(
    workers: dict[str, int], share: int | None
) -> None:
    """A GPU's lies in the host's memory."""

    def states(mode: str) -> int:
        checkpoint = Checkpoint.model_validate({"mode": mode})
        return estimate(run(**workers).model_copy(update={"checkpoint": checkpoint})).memory.states

    copy = 12 * parameters(run().architecture) / share if share else 0  # weights and two moments
    assert states("async") - states("sync") == pytest.approx(copy, rel=0.01)
