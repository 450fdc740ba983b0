"""Each rule refuses with the field, and offers values that it accepts itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.architecture import Attention, Dropout, HeadGate
from deepseek_workloads.contract.monitoring import AlertRule, Alerts, Monitoring, Profile
from deepseek_workloads.contract.objective import Consolidation, CurriculumStage, Lora, Pruning, Quantisation
from deepseek_workloads.contract.optimization import PrecisionOverride, Schedule
from deepseek_workloads.contract.run_config import (
    Checkpoint,
    Data,
    Distillation,
    Evaluation,
    InitialExport,
    Owner,
    Parallelism,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.estimate import estimate
from deepseek_workloads.plan.layout import layout_of
from deepseek_workloads.plan.nearest import divisors_near, multiples
from deepseek_workloads.plan.pipeline import STAGES_PER_RANK
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.replicas import replica_bytes, replica_limit
from deepseek_workloads.plan.rules import check_architecture, check_tokenizer, check_training


def run(**changes: object) -> TrainingRun:
    storage = Storage(uri="s3://models/tiny")
    base = TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=512),
        training=Training(steps=100, global_batch_size=8),
        workers=Workers(num_nodes=2),
        storage=storage,
    )
    return base.model_copy(update=changes)


def training(**changes: object) -> Training:
    return run().training.model_copy(update=changes)


def test_a_sound_run_has_no_problems() -> None:
    assert check_training(run()) == []


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_keeps_its_own_rules(preset: str) -> None:
    assert check_architecture(PRESETS[preset]) == []


@pytest.mark.parametrize(
    ("overrides", "field", "offered"),
    [
        ({"moe": {"nRoutedExperts": 10, "nGroup": 4}}, "moe.nRoutedExperts", "use 8 or 12 experts"),
        ({"moe": {"nRoutedExperts": 4, "nGroup": 4, "topkGroup": 2}}, "moe.nGroup", "use nGroup 2 or less"),
        ({"moe": {"nGroup": 2, "topkGroup": 3}}, "moe.topkGroup", "use topkGroup 1..2"),
        ({"moe": {"numExpertsPerTok": 5}}, "moe.numExpertsPerTok", "use at most 4 experts a token"),
        ({"qkRopeHeadDim": 15}, "qkRopeHeadDim", "use 14 or 16"),
        ({"moe": {"firstKDenseReplace": 5}}, "moe.firstKDenseReplace", "use 0..4"),
        (
            {"ropeScaling": {"factor": 4, "originalMaxPositionEmbeddings": 4096}},
            "ropeScaling.originalMaxPositionEmbeddings",
            "use at most 2048",
        ),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(
    overrides: dict[str, object], field: str, offered: str
) -> None:
    (problem,) = check_architecture(resolve("deepseek-v3-tiny", overrides))

    assert problem.field == f"spec.model.architecture.{field}"
    assert problem.reason == "InvalidArchitecture"
    assert offered in problem.remedy


@pytest.mark.parametrize(
    ("preset", "overrides", "field", "offered"),
    [
        (
            "transformer-5m",
            {"attention": {"numKeyValueHeads": 4}},
            "attention.numKeyValueHeads",
            "use 3 or 6",
        ),
        ("transformer-5m", {"attention": {"headDim": 31}}, "attention.headDim", "use 30 or 32"),
        (
            "transformer-5m",
            {"attention": {"kind": "lsh", "numBuckets": 7}},
            "attention.numBuckets",
            "use 6 or 8",
        ),
        ("transformer-5m", {"indexer": {"indexTopk": 4}}, "indexer", "use attention.kind mla"),
        ("deepseek-v3-tiny", {"indexer": {}, "qLoraRank": None}, "qLoraRank", "leave the indexer away"),
        ("deepseek-v3-tiny", {"indexer": {"indexHeadDim": 8}}, "indexer.indexHeadDim", "at least 16"),
        ("deepseek-v3-tiny", {"moe": {"scoringFunc": "softmax"}}, "moe.biasUpdateSpeed", 'use "0"'),
    ],
)
def test_kinds_that_cannot_be_are_refused(
    preset: str, overrides: dict[str, object], field: str, offered: str
) -> None:
    (problem,) = check_architecture(resolve(preset, overrides))

    assert problem.field == f"spec.model.architecture.{field}"
    assert offered in problem.remedy


def test_modules_that_predict_beyond_the_sequence_are_refused() -> None:
    looking = resolve("deepseek-v3-tiny", {"numNextnPredictLayers": 512})

    (problem,) = check_training(run(architecture=looking))

    assert problem.field == "spec.model.architecture.numNextnPredictLayers"
    assert "use at most 511" in problem.remedy


def test_modules_that_predict_beyond_the_shortest_sequences_are_refused() -> None:
    looking = resolve("deepseek-v3-tiny", {"numNextnPredictLayers": 2})
    stages = [CurriculumStage(until_step=step, sequence_length=step) for step in (2, 4)]

    (problem,) = check_training(run(architecture=looking, training=training(curriculum=stages)))

    assert problem.field == "spec.model.architecture.numNextnPredictLayers"
    assert "training.curriculum[0].sequenceLength (2)" in problem.rule


@pytest.mark.parametrize(
    ("changes", "field", "reason", "offered"),
    [
        ({"training": training(global_batch_size=7)}, "globalBatchSize", "InvalidBatchSize", "use 6 or 8"),
        (
            {"training": training(global_batch_size=12, micro_batch_size=4)},
            "microBatchSize",
            "InvalidBatchSize",
            "use 3 or 6",
        ),
        (
            {"training": training(schedule=Schedule(warmup_steps=101))},
            "schedule.warmupSteps",
            "InvalidSchedule",
            "use at most 100",
        ),
        (
            {"backend": "horovod", "training": training(parallelism=Parallelism(zero_stage=2))},
            "parallelism.zeroStage",
            "InvalidParallelism",
            "use zeroStage 0",
        ),
    ],
)
def test_a_training_section_that_does_not_fit_its_workers_is_refused(
    changes: dict[str, object], field: str, reason: str, offered: str
) -> None:
    (problem,) = check_training(run(**changes))

    assert (problem.field, problem.reason) == (f"spec.training.{field}", reason)
    assert offered in problem.remedy


def test_a_layout_that_exceeds_the_processes_is_refused_with_the_product() -> None:
    layout = Parallelism(tensor_parallel_degree=2, pipeline_parallel_degree=4)

    problems = check_training(run(training=training(parallelism=layout)))

    (of_layout,) = [problem for problem in problems if problem.field == "spec.training.parallelism"]
    assert of_layout.value == "tensorParallelDegree 2 x pipelineParallelDegree 4"
    assert "the product 8 must divide the 2 processes (2 nodes x 1)" in of_layout.rule
    assert "workers of 8 processes" in of_layout.remedy


@pytest.mark.parametrize(
    ("degrees", "processes"),
    [
        ({"expert_parallel_degree": 4}, 4),
        ({"tensor_parallel_degree": 4}, 8),
        ({"pipeline_parallel_degree": 4}, 4),
        ({"pipeline_parallel_degree": 2, "pipeline_parallel_schedule": "Interleaved1F1B"}, 2),
        ({"pipeline_parallel_degree": 2, "pipeline_parallel_schedule": "DualPipeV"}, 2),
        ({"context_parallel_degree": 8}, 8),
        ({"data_parallel_replicate_degree": 2}, 4),
        (
            {
                "pipeline_parallel_degree": 2,
                "tensor_parallel_degree": 2,
                "context_parallel_degree": 2,
                "expert_parallel_degree": 8,
            },
            16,
        ),
    ],
)
def test_layouts_that_come_out_even_are_accepted(degrees: dict[str, object], processes: int) -> None:
    layout = training(parallelism=Parallelism(**degrees), global_batch_size=16)

    assert check_training(run(training=layout, workers=Workers(num_nodes=processes))) == []


@pytest.mark.parametrize(
    ("degrees", "processes", "field", "rule", "offered"),
    [
        ({"expert_parallel_degree": 3}, 3, "expertParallelDegree", "the 8 routed experts", "use 2 or 4"),
        (
            {"expert_parallel_degree": 8},
            4,
            "expertParallelDegree",
            "the 4 processes of a stage's copy",
            "use 4, or workers of 8",
        ),
        (
            {"expert_parallel_degree": 4, "data_parallel_replicate_degree": 2},
            4,
            "expertParallelDegree",
            "the 2 processes of a stage's copy",
            "use 2, or workers of 8",
        ),
        ({"tensor_parallel_degree": 3}, 3, "tensorParallelDegree", "numAttentionHeads (4)", "use 2 or 4"),
        ({"pipeline_parallel_degree": 8}, 8, "pipelineParallelDegree", "the model has 4", "use at most 4"),
        (
            {"pipeline_parallel_degree": 4, "pipeline_parallel_schedule": "ZBVZeroBubble"},
            4,
            "pipelineParallelDegree",
            "a layer for each of its 8 stages",
            "use at most 2, or schedule 1F1B",
        ),
        ({"context_parallel_degree": 3}, 3, "contextParallelDegree", "(6) must divide the 512", "510 or 516"),
        (
            {"zero_stage": 0, "data_parallel_replicate_degree": 2},
            2,
            "dataParallelReplicateDegree",
            "zeroStage 0 has none",
            "use 1",
        ),
        ({"cpu_offload": True}, 2, "cpuOffload", "resources.gpu", "use false"),
    ],
)
def test_layouts_that_do_not_come_out_even_are_refused(
    degrees: dict[str, object], processes: int, field: str, rule: str, offered: str
) -> None:
    layout = training(parallelism=Parallelism(**degrees), global_batch_size=48)

    problems = check_training(run(training=layout, workers=Workers(num_nodes=processes)))

    (problem,) = [p for p in problems if p.field == f"spec.training.parallelism.{field}" and rule in p.rule]
    assert problem.reason == "InvalidParallelism"
    assert offered in problem.remedy


@pytest.mark.parametrize(
    ("changes", "degrees", "field"),
    [
        ({"num_nextn_predict_layers": 1}, {"context_parallel_degree": 2}, "contextParallelDegree"),
        ({"dropout": Dropout(residual=0.1)}, {"context_parallel_degree": 2}, "contextParallelDegree"),
        ({"dropout": Dropout(residual=0.1)}, {"tensor_parallel_degree": 2}, "tensorParallelDegree"),
        (
            {"attention": Attention(head_gate=HeadGate())},
            {"tensor_parallel_degree": 2},
            "tensorParallelDegree",
        ),
        (
            {"num_nextn_predict_layers": 1},
            {"pipeline_parallel_degree": 2, "pipeline_parallel_schedule": "DualPipeV"},
            "pipelineParallelSchedule",
        ),
        (
            {"tie_word_embeddings": True},
            {"pipeline_parallel_degree": 2, "pipeline_parallel_schedule": "ZBVZeroBubble"},
            "pipelineParallelSchedule",
        ),
    ],
)
def test_degrees_that_a_model_does_not_go_with_are_refused(
    changes: dict[str, object], degrees: dict[str, object], field: str
) -> None:
    asked = run(
        architecture=run().architecture.model_copy(update=changes),
        training=training(parallelism=Parallelism(**degrees)),
    )

    assert [problem.field for problem in check_training(asked)] == [f"spec.training.parallelism.{field}"]


@pytest.mark.parametrize(
    ("changes", "schedule", "field", "offered"),
    [
        ({"micro_batch_size": 8}, "1F1B", "microBatchSize", "use microBatchSize 4 or 2"),
        ({"micro_batch_size": 8}, "DualPipeV", "microBatchSize", "use microBatchSize 2 or 1"),
        ({"global_batch_size": 1}, "1F1B", "globalBatchSize", "use a larger globalBatchSize"),
    ],
)
def test_too_few_micro_batches_for_a_pipeline_are_refused(
    changes: dict[str, object], schedule: str, field: str, offered: str
) -> None:
    layout = Parallelism(pipeline_parallel_degree=2, pipeline_parallel_schedule=schedule)

    (problem,) = check_training(run(training=training(parallelism=layout, **changes)))

    assert (problem.field, problem.reason) == (f"spec.training.{field}", "InvalidBatchSize")
    assert offered in problem.remedy


@given(
    degree=st.integers(1, 9),
    name=st.sampled_from(
        [
            "expert_parallel_degree",
            "tensor_parallel_degree",
            "pipeline_parallel_degree",
            "context_parallel_degree",
            "data_parallel_replicate_degree",
        ]
    ),
    processes=st.integers(1, 12),
)
def test_an_accepted_layout_has_a_place_for_every_process(degree: int, name: str, processes: int) -> None:
    parallelism = Parallelism(**{name: degree})
    asked = run(
        training=training(parallelism=parallelism, global_batch_size=processes * degree),
        workers=Workers(num_nodes=processes),
    )

    if not check_training(asked):
        layout = layout_of(parallelism, processes)
        assert layout.world_size == processes
        assert layout.expert_ranks % layout.expert == 0
        assert asked.architecture.num_attention_heads % layout.tensor == 0


def test_a_sequence_longer_than_the_positions_is_refused() -> None:
    (problem,) = check_training(run(data=run().data.model_copy(update={"sequence_length": 4096})))

    assert (problem.field, problem.reason) == ("spec.data.sequenceLength", "SequenceTooLong")


def test_gpus_without_a_process_each_are_refused() -> None:
    (problem,) = check_training(run(workers=Workers(num_nodes=1, gpus_per_node=8)))

    assert problem.field == "spec.workers.numProcPerNode"


def test_more_minimum_nodes_than_nodes_are_refused() -> None:
    (problem,) = check_training(run(workers=Workers(num_nodes=2, min_nodes=3)))

    assert problem.field == "spec.workers.minNodes"


def test_states_that_cannot_fit_the_memory_limit_are_refused() -> None:
    (problem,) = check_training(run(workers=Workers(num_nodes=2, memory_bytes=2**20)))

    assert (problem.field, problem.reason) == ("spec.workers.resources.memory", "InsufficientMemory")


def test_replicas_of_checkpoints_count_as_memory_of_their_pods() -> None:
    two = Checkpoint(memory_replicas=2)
    plain = replica_bytes(run(checkpoint=two))
    limit = Workers(num_nodes=2, memory_bytes=estimate(run()).memory.states + plain // 2)
    assert check_training(run(workers=limit)) == []
    (problem,) = check_training(run(workers=limit, checkpoint=two))
    assert "checkpoint.memoryReplicas" in problem.rule
    gpus = limit.model_copy(update={"gpus_per_node": 1, "memory_bytes": plain - 1})
    (problem,) = check_training(run(workers=gpus, checkpoint=two))
    assert (problem.field, problem.reason) == ("spec.checkpoint.memoryReplicas", "InsufficientMemory")


def test_a_replica_is_the_part_of_the_state_that_a_pod_writes() -> None:
    parameters = estimate(run()).parameters
    one = run(checkpoint=Checkpoint(memory_replicas=1))
    assert replica_bytes(one) == pytest.approx(12 * parameters / 2, rel=0.01)  # float32, AdamW, two pods
    horovod = one.model_copy(
        update={"backend": "horovod", "training": training(parallelism=Parallelism(zero_stage=0))}
    )
    assert replica_bytes(horovod) == pytest.approx(12 * parameters, rel=0.01)  # rank 0 writes all
    assert replica_limit(one) > 1.2 * replica_bytes(one)
    assert replica_limit(run()) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": Workers(num_nodes=1, num_proc_per_node=2)},
        {"backend": "horovod", "training": training(parallelism=Parallelism(zero_stage=0))},
    ],
)
def test_a_second_replica_needs_another_pod_that_gets_it(changes: dict[str, object]) -> None:
    (problem,) = check_training(run(checkpoint=Checkpoint(memory_replicas=2), **changes))
    assert problem.field == "spec.checkpoint.memoryReplicas"
    assert check_training(run(checkpoint=Checkpoint(memory_replicas=1), **changes)) == []


def test_replicas_of_unknown_size_are_refused() -> None:
    one = Checkpoint(memory_replicas=1)
    (problem,) = check_training(run(checkpoint=one, training=training(entrypoint="mine:train")))
    assert "mine:train" in problem.rule


def test_a_memory_limit_above_the_states_is_left_to_the_run() -> None:
    assert check_training(run(workers=Workers(num_nodes=2, memory_bytes=2**30))) == []


def test_a_tokenizer_larger_than_the_vocabulary_is_refused() -> None:
    (problem,) = check_tokenizer(PRESETS["deepseek-v3-tiny"], vocab_size=8193)

    assert (problem.reason, problem.value) == ("TokenizerTooLarge", "8192")
    assert "use vocabSize 8320" in problem.remedy


def test_a_tokenizer_as_large_as_the_vocabulary_is_accepted() -> None:
    assert check_tokenizer(PRESETS["deepseek-v3-tiny"], vocab_size=8192) == []


def test_several_problems_are_reported_at_once() -> None:
    problems = check_training(
        run(
            training=training(global_batch_size=7, schedule=Schedule(warmup_steps=1000)),
            workers=Workers(num_nodes=2, min_nodes=3),
        )
    )

    assert len(problems) == 3


@given(value=st.integers(1, 10_000), unit=st.integers(1, 300))
def test_the_offered_multiples_and_divisors_keep_the_rule(value: int, unit: int) -> None:
    assert multiples(value, unit)
    assert all(number % unit == 0 for number in multiples(value, unit))
    assert divisors_near(value, unit)
    assert all(value % number == 0 for number in divisors_near(value, unit))


@given(
    batch=st.integers(1, 64),
    nodes=st.integers(1, 8),
    processes=st.integers(1, 4),
    micro=st.one_of(st.none(), st.integers(1, 16)),
)
def test_an_accepted_batch_is_a_whole_number_of_passes_on_every_rank(
    batch: int, nodes: int, processes: int, micro: int | None
) -> None:
    asked = run(
        training=training(global_batch_size=batch, micro_batch_size=micro),
        workers=Workers(num_nodes=nodes, num_proc_per_node=processes),
    )

    accepted = not check_training(asked)

    assert accepted == (batch % (nodes * processes) == 0 and batch // (nodes * processes) % (micro or 1) == 0)


def test_a_problem_reads_as_field_value_rule_remedy() -> None:
    (problem,) = check_training(run(training=training(global_batch_size=7)))

    assert str(problem) == (
        "spec.training.globalBatchSize: 7: must be divisible by the data-parallel size 2; "
        "use 6 or 8, or a data-parallel size of 1 or 7"
    )


def test_wsd_comes_down_after_warm_up() -> None:
    schedule = Schedule(name="wsd", warmup_steps=60, decay_steps=50)
    (problem,) = check_training(run(training=training(schedule=schedule)))
    assert (problem.field, problem.remedy) == (
        "spec.training.schedule.decaySteps",
        "use at most 40, or train on more tokens",
    )


def test_a_pattern_that_fits_no_module_is_refused_with_names_that_there_are() -> None:
    overrides = [
        PrecisionOverride(modules="model.layers.*.self_attn", precision="fp32"),
        PrecisionOverride(modules="model.layer.0", precision="fp32"),
    ]

    (problem,) = check_training(run(training=training(precision_overrides=overrides)))

    assert (problem.field, problem.value) == (
        "spec.training.precisionOverrides[1].modules",
        "model.layer.0",
    )
    assert "model.layers.0" in problem.remedy


@pytest.mark.parametrize(
    "pattern",
    [
        "model.norm",
        "*layernorm",
        "model.layers.*.mlp.gate",
        "model.embed_tokens",
        "*.head_gate",
        "*.shared_head",
    ],
)
def test_what_has_no_precision_of_its_own_is_refused_of_a_new_run(pattern: str) -> None:
    overrides = [PrecisionOverride(modules=pattern, precision="fp32")]
    kinds = {"attention": Attention(head_gate=HeadGate()), "num_nextn_predict_layers": 1}
    architecture = run().architecture.model_copy(update=kinds)
    asked = run(training=training(precision_overrides=overrides), architecture=architecture)

    (problem,) = check_training(asked)

    assert (problem.field, problem.value) == ("spec.training.precisionOverrides[0].modules", pattern)
    assert check_training(asked, begun=True) == []


@pytest.mark.parametrize("pattern", ["*", "model.layers", "model.layers.*.mlp.gate*", "*.q_a_*", "*_proj"])
def test_a_pattern_that_fits_a_product_beside_them_is_not(pattern: str) -> None:
    overrides = [PrecisionOverride(modules=pattern, precision="fp32")]
    assert check_training(run(training=training(precision_overrides=overrides))) == []


def test_lora_names_matrices_of_the_model() -> None:
    def refused(*targets: str) -> tuple[str, str]:
        lora = Lora(targets=list(targets))
        (problem,) = check_training(run(training=training(lora=lora), init_from=Storage(uri="s3://models/x")))
        assert "model.layers.0.self_attn" in problem.remedy
        return problem.field, problem.rule

    experts = "model.layers.*.mlp.experts"  # many matrices in one tensor
    for no_product in (experts, "lm_head", "model.embed_tokens", "model.layers.*.mlp.gate"):
        assert refused(no_product) == ("spec.training.lora.targets", "must fit a matrix of the model")
    assert refused("model.layers.*.self_attn.*", "*.no_such") == (
        "spec.training.lora.targets[1]",
        "must fit a module of the model",
    )


def test_lora_adapts_what_was_trained() -> None:
    (problem,) = check_training(run(training=training(lora=Lora())))
    assert problem.field == "spec.training.lora"
    assert check_training(run(training=training(lora=Lora()), init_from=Storage(uri="s3://models/x"))) == []


@pytest.mark.parametrize(
    ("rate", "fields"),
    [
        (0.0, []),
        (0.1, []),
        (2.0**-16, []),
        (2.0**-17, ["spec.model.architecture.dropout.residual"]),
        (1 - 2.0**-18, ["spec.model.architecture.dropout.residual"]),
    ],
)
def test_a_dropout_rate_drops_something_and_keeps_something(rate: float, fields: list[str]) -> None:
    architecture = run().architecture.model_copy(update={"dropout": Dropout(residual=rate)})
    assert [problem.field for problem in check_architecture(architecture)] == fields


def test_pruning_that_closes_no_channel_is_refused() -> None:
    (problem,) = check_training(run(training=training(pruning=Pruning(sparsity=0.005, at_step=1))))
    assert problem.field == "spec.training.pruning.sparsity"
    assert "closes none of the 128 channels of model.layers.1.mlp" in problem.rule
    assert check_training(run(training=training(pruning=Pruning(sparsity=1 / 128, at_step=1)))) == []


def test_lora_and_rounding_are_two_runs() -> None:
    both = training(lora=Lora(), quantisation=Quantisation())
    (problem,) = check_training(run(training=both, init_from=Storage(uri="s3://models/x")))
    assert problem.field == "spec.training.quantisation"


def test_a_curriculum_rises_and_leaves_no_token_out() -> None:
    def problems(*stages: tuple[int, int]) -> list[str]:
        curriculum = [CurriculumStage(until_step=step, sequence_length=length) for step, length in stages]
        return [problem.field for problem in check_training(run(training=training(curriculum=curriculum)))]

    assert problems((10, 128), (20, 256)) == []
    assert problems((10, 128), (10, 256)) == ["spec.training.curriculum[1].untilStep"]
    assert problems((10, 100)) == ["spec.training.curriculum[0].sequenceLength"]


def test_a_curriculum_by_difficulty_divides_no_sequence() -> None:
    stages = [CurriculumStage(until_step=10, max_difficulty=0.3)]
    staged = training(curriculum=stages, parallelism=Parallelism(pipeline_parallel_degree=2))
    assert check_training(run(training=staged)) == []
    (problem,) = check_training(run(training=training(objective="sft", curriculum=stages)))
    assert problem.field == "spec.training.curriculum"


@pytest.mark.parametrize(("first", "fields"), [(100, []), (101, ["spec.monitoring.profile.fromStep"])])
def test_a_trace_begins_at_a_step_of_the_run(first: int, fields: list[str]) -> None:
    monitoring = Monitoring(profile=Profile(from_step=first))
    assert [problem.field for problem in check_training(run(monitoring=monitoring))] == fields


@pytest.mark.parametrize(
    ("changes", "workers", "said"),
    [
        ({}, Workers(num_nodes=2, memory_bytes=2**30), None),
        ({}, Workers(num_nodes=2, gpus_per_node=1), None),
        ({}, Workers(num_nodes=2), "knows no limit"),
        ({"micro_batch_size": 2}, Workers(num_nodes=2, gpus_per_node=1), "microBatchSize is given"),
    ],
)
def test_passes_are_measured_where_that_can_decide(
    changes: dict[str, int], workers: Workers, said: str | None
) -> None:
    problems = check_training(run(training=training(find_micro_batch_size=True, **changes), workers=workers))
    assert [said in problem.rule for problem in problems] == ([True] if said else [])


def test_running_text_has_nothing_to_answer() -> None:
    asked = Evaluation(answers=8)
    (problem,) = check_training(run(evaluation=asked))
    assert problem.field == "spec.evaluation.answers"
    assert check_training(run(evaluation=asked, training=training(objective="sft"))) == []


@pytest.mark.parametrize("beside", [{"lora": Lora()}, {"quantisation": Quantisation()}])
def test_float8_is_refused_beside_what_changes_matrices(beside: dict[str, object]) -> None:
    trained = InitialExport(uri="s3://models/x")
    (problem,) = check_training(run(training=training(precision="fp8", **beside), init_from=trained))
    assert (problem.field, problem.value) == ("spec.training.precision", "fp8")
    assert f"training.{next(iter(beside))}" in problem.rule


def test_conversations_are_not_cut() -> None:
    stages = [CurriculumStage(until_step=10, sequence_length=128)]
    (problem,) = check_training(run(training=training(objective="sft", curriculum=stages)))
    assert problem.field == "spec.training.curriculum"


@pytest.mark.parametrize(
    ("changes", "setting", "degree"),
    [
        ({"precision": "fp16"}, "precision", "tensorParallelDegree"),
        ({"precision": "fp8"}, "precision", "pipelineParallelDegree"),
        (
            {"precision_overrides": [PrecisionOverride(modules="model.layers.0", precision="fp32")]},
            "precisionOverrides",
            "pipelineParallelDegree",
        ),
        ({"objective": "sft"}, "objective", "pipelineParallelDegree"),
        ({"lora": Lora()}, "lora", "pipelineParallelDegree"),
        ({"entrypoint": "own.code:train"}, "entrypoint", "pipelineParallelDegree"),
        ({"loss_function": "own.code:loss"}, "lossFunction", "tensorParallelDegree"),
        ({"quantisation": Quantisation()}, "quantisation", "expertParallelDegree"),
        ({"pruning": Pruning(sparsity=0.5, at_step=10)}, "pruning", "expertParallelDegree"),
        (
            {"distillation": Distillation(teacher=InitialExport(uri="s3://models/large"))},
            "distillation",
            "pipelineParallelDegree",
        ),
        ({"consolidation": Consolidation(source="docs")}, "consolidation", "pipelineParallelDegree"),
        (
            {"curriculum": [CurriculumStage(until_step=10, sequence_length=128)]},
            "curriculum",
            "pipelineParallelDegree",
        ),
    ],
)
def test_what_works_on_whole_layers_and_rows_is_refused_where_they_are_divided(
    changes: dict[str, object], setting: str, degree: str
) -> None:
    parallelism = Parallelism.model_validate({degree: 2})
    trained = None if setting == "entrypoint" else InitialExport(uri="s3://models/x")

    (problem,) = check_training(run(training=training(parallelism=parallelism, **changes), init_from=trained))

    assert (problem.field, problem.reason) == (f"spec.training.parallelism.{degree}", "InvalidParallelism")
    assert f"training.{setting}" in problem.rule
    assert f"use {degree} 1" in problem.remedy


@pytest.mark.parametrize("mode", ["selective", "full"])
@pytest.mark.parametrize("schedule", sorted(STAGES_PER_RANK))
def test_layers_are_computed_twice_where_a_schedule_leaves_backward_passes_whole(
    schedule: str, mode: str
) -> None:
    def refused(activation_checkpointing: str) -> list[Problem]:
        parallelism = Parallelism(pipeline_parallel_degree=2, pipeline_parallel_schedule=schedule)
        asked = training(parallelism=parallelism, activation_checkpointing=activation_checkpointing)
        return check_training(run(training=asked))

    assert refused("none") == []
    if schedule in ("1F1B", "Interleaved1F1B"):
        assert refused(mode) == []
        return
    (problem,) = refused(mode)
    assert problem.field == "spec.training.parallelism.pipelineParallelSchedule"
    assert (problem.value, problem.reason) == (schedule, "InvalidParallelism")
    assert f"training.activationCheckpointing ({mode})" in problem.rule
    assert "use Interleaved1F1B" in problem.remedy


@pytest.mark.parametrize(
    "changes",
    [{"distillation": Distillation(teacher=InitialExport(uri="s3://models/large"))}, {"precision": "fp16"}],
)
def test_a_loss_of_the_users_own_is_refused_beside_what_does_not_know_it(changes: dict[str, object]) -> None:
    own = training(loss_function="own.code:loss")
    assert check_training(run(training=own)) == []
    (problem,) = check_training(run(training=own.model_copy(update=changes)))
    assert (problem.field, problem.value) == ("spec.training.lossFunction", "own.code:loss")


@pytest.mark.parametrize(
    ("preset", "overrides"), [("transformer-5m", {}), ("deepseek-v3-tiny", {"indexer": {}})]
)
def test_conversations_want_attention_that_keeps_them_apart(
    preset: str, overrides: dict[str, object]
) -> None:
    mixing = resolve(preset, overrides)

    (problem,) = check_training(run(architecture=mixing, training=training(objective="sft")))

    assert (problem.field, problem.reason) == ("spec.training.objective", "InvalidTraining")
    assert "use a model of attention.kind mla without an indexer" in problem.remedy
    assert ("data.packing bucketed" in problem.remedy) == (preset == "transformer-5m")


def test_settings_of_the_loop_that_an_entrypoint_replaces_are_refused() -> None:
    plain = training(entrypoint="my.code:train")
    assert check_training(run(training=plain)) == []

    (problem,) = check_training(run(training=plain.model_copy(update={"activation_checkpointing": "full"})))

    assert (problem.field, problem.value) == ("spec.training.activationCheckpointing", "full")
    assert "my.code:train" in problem.rule


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"init_from": InitialExport(uri="s3://models/base")}, "spec.model.initFrom"),
        ({"alerts": Alerts(loss_spike=AlertRule(threshold=2, action="stop"))}, "spec.alerts"),
        ({"monitoring": Monitoring(histograms_every_steps=10)}, "spec.monitoring.histogramsEverySteps"),
        ({"monitoring": Monitoring(profile=Profile(from_step=2))}, "spec.monitoring.profile"),
    ],
)
def test_what_else_the_loop_would_do_is_refused_with_an_entrypoint(
    change: dict[str, object], field: str
) -> None:
    own = training(entrypoint="my.code:train")
    assert check_training(run(training=training(), **change)) == []

    (problem,) = check_training(run(training=own, **change))

    assert (problem.field, problem.value, problem.reason) == (field, "given", "InvalidTraining")


@pytest.mark.parametrize(
    ("changes", "field", "what"),
    [
        ({"quantisation": Quantisation(modules=["model.norm"])}, "quantisation.modules", "with matrices"),
        ({"quantisation": Quantisation(modules=["*.no_such"])}, "quantisation.modules[0]", "a module"),
        (
            {"pruning": Pruning(sparsity=0.5, at_step=1, modules=["model.layers.*.self_attn"])},
            "pruning.modules",
            "a gated network",
        ),
    ],
)
def test_what_is_rounded_or_pruned_is_named(changes: dict[str, object], field: str, what: str) -> None:
    (problem,) = check_training(run(training=training(**changes)))

    assert problem.field == f"spec.training.{field}"
    assert what in problem.rule
    assert "model.layers.0" in problem.remedy


def test_pruning_looks_at_weights_that_are_not_offloaded() -> None:
    pruning = Pruning(sparsity=0.5, at_step=1)

    problems = check_training(
        run(training=training(pruning=pruning, parallelism=Parallelism(zero_stage=2, cpu_offload=True)))
    )

    assert any("does not go with pruning" in problem.rule for problem in problems)
