"""What a run with images needs, and what it costs."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.architecture import Vision
from deepseek_workloads.contract.objective import Lora
from deepseek_workloads.contract.run_config import (
    Data,
    InitialExport,
    Owner,
    Parallelism,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.architecture import ArchitectureRefused, resolve
from deepseek_workloads.plan.estimate import active_parameters, estimate, flops_per_image, flops_per_token
from deepseek_workloads.plan.hugging_face_config import architecture_of, class_of, config_json
from deepseek_workloads.plan.model_spec import model_spec
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_architecture, check_training
from deepseek_workloads.plan.vision_checkpoint import config_problems, parameter_of
from deepseek_workloads.plan.vision_tensors import VISION_TOWER, tower_shapes

BLIND = PRESETS["deepseek-v3-tiny"]
VIT_BASE = Vision(image_token_id=2)
SEEING = BLIND.model_copy(update={"vision": VIT_BASE})
EXPORT = InitialExport(uri="s3://models/start")


def run(*, parallelism: dict[str, int] | None = None, **training: object) -> TrainingRun:
    settings = {"steps": 10, "global_batch_size": 8, "objective": "sft", **training}
    storage = Storage(uri="s3://models/seeing")
    return TrainingRun(
        owner=Owner(namespace="research", name="seeing", uid="u"),
        architecture=SEEING,
        data=Data(sources=[Source(name="squares", storage=storage)], sequence_length=512),
        training=Training(**settings, parallelism=Parallelism(**(parallelism or {}))),
        workers=Workers(num_nodes=2),
        storage=storage,
    )


def test_a_sound_run_has_no_problems() -> None:
    assert check_training(run()) == []
    start = run(freeze=["visionTower", "languageModel"]).model_copy(update={"init_from": EXPORT})
    assert check_training(start) == []


def test_the_encoder_is_vit_base() -> None:
    """86 million, as published, without the pooler."""
    assert sum(map(prod, tower_shapes(VIT_BASE).values())) == 85_798_656


def test_a_token_of_text_costs_what_it_does_without_an_encoder() -> None:
    assert flops_per_token(SEEING, sequence_length=512) == flops_per_token(BLIND, sequence_length=512)
    assert active_parameters(SEEING) == active_parameters(BLIND)
    assert flops_per_image(BLIND) == 0


def test_an_image_costs_what_vit_base_is_known_to() -> None:
    """17.6 G multiply-adds forward, so six times as many operations forward and backward."""
    assert flops_per_image(SEEING) == pytest.approx(6 * 17.6e9, rel=0.03)


def test_the_encoder_is_in_what_a_rank_holds() -> None:
    seeing = estimate(run())
    blind = estimate(run().model_copy(update={"architecture": BLIND}))

    assert seeing.parameters > blind.parameters + 85_000_000
    assert seeing.memory.states > blind.memory.states
    assert seeing.memory.activations > blind.memory.activations


@pytest.mark.parametrize(
    ("changes", "field", "offered"),
    [
        ({"patch_size": 15}, "patchSize", "use 14 or 16"),
        ({"num_attention_heads": 7}, "numAttentionHeads", "use 6 or 8"),
        ({"image_token_id": 10**6}, "imageTokenId", "manifest.json"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(changes: dict[str, int], field: str, offered: str) -> None:
    wrong = SEEING.model_copy(update={"vision": VIT_BASE.model_copy(update=changes)})

    (problem,) = check_architecture(wrong)

    assert problem.field == f"spec.model.vision.{field}"
    assert offered in problem.remedy


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (run(objective="pretrain"), "spec.training.objective"),
        (run(parallelism={"tensor_parallel_degree": 2}), "spec.training.parallelism.tensorParallelDegree"),
        (run(freeze=["visionTower"]), "spec.training.freeze"),
        (run(freeze=["languageModel"]), "spec.training.freeze"),
        (run(freeze=["projector"]), "spec.training.freeze"),
        (run(freeze=["projector", "projector"]), "spec.training.freeze"),
        (
            run(freeze=["visionTower", "projector", "languageModel"]).model_copy(
                update={"init_from": EXPORT}
            ),
            "spec.training.freeze",
        ),
        (
            run(freeze=["projector"], lora=Lora()).model_copy(update={"init_from": EXPORT}),
            "spec.training.freeze",
        ),
        (
            run(freeze=["projector"]).model_copy(update={"architecture": BLIND}),
            "spec.training.freeze",
        ),
        (
            run().model_copy(update={"architecture": BLIND, "vision_init_from": EXPORT}),
            "spec.model.vision.initFrom",
        ),
        (run(entrypoint="mine:train"), "spec.training.entrypoint"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_go_with_images_is_refused(wrong: TrainingRun, field: str) -> None:
    assert field in {problem.field for problem in check_training(wrong)}


def test_an_image_must_leave_room_for_words() -> None:
    wrong = run()
    wrong = wrong.model_copy(update={"data": wrong.data.model_copy(update={"sequence_length": 196})})

    (problem,) = check_training(wrong)

    assert problem.field == "spec.model.vision.patchSize"
    assert "196 tokens of an image" in problem.rule


def test_a_value_of_another_type_is_named_where_the_spec_has_it() -> None:
    with pytest.raises(ArchitectureRefused) as refused:
        resolve("deepseek-v3-tiny", {"vision": {"hiddenSize": "wide"}})

    fields = {problem.field for problem in refused.value.problems}
    assert fields == {"spec.model.vision.hiddenSize", "spec.model.vision.imageTokenId"}


def test_it_is_never_exported_as_a_class_of_transformers() -> None:
    assert class_of(SEEING) == "DeepseekWorkloadsForCausalLM"
    assert architecture_of(config_json(SEEING)) == SEEING


@given(
    heads=st.integers(1, 8),
    layers=st.integers(1, 4),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    token=st.integers(0, 100),
)
def test_the_spec_of_a_model_that_sees_resolves_to_it(
    heads: int, layers: int, mean: tuple[float, float, float], token: int
) -> None:
    vision = Vision(
        hidden_size=8 * heads,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        image_mean=mean,
        image_token_id=token,
    )
    architecture = BLIND.model_copy(update={"vision": vision})

    spec = model_spec(architecture)

    assert resolve(spec["preset"], {**spec["architecture"], "vision": spec["vision"]}) == architecture


def test_names_of_published_checkpoints() -> None:
    assert parameter_of("vit.encoder.layer.3.attention.attention.query.bias") == (
        f"{VISION_TOWER}layers.3.attention.q_proj.bias"
    )
    assert parameter_of("encoder.layer.0.attention.output.dense.weight") == (
        f"{VISION_TOWER}layers.0.attention.o_proj.weight"
    )
    assert parameter_of("encoder.layer.0.output.dense.weight") == f"{VISION_TOWER}layers.0.mlp.fc2.weight"
    assert parameter_of("layers.0.mlp.fc1.weight") == f"{VISION_TOWER}layers.0.mlp.fc1.weight"
    assert parameter_of("vit.layernorm.weight") == f"{VISION_TOWER}layernorm.weight"
    assert parameter_of("classifier.weight") is None
    assert parameter_of("pooler.dense.weight") is None


def test_the_config_of_vit_base_is_its_defaults() -> None:
    assert list(config_problems({"model_type": "vit"}, SEEING)) == []
    assert list(config_problems({"model_type": "vit", "image_size": [224, 224]}, SEEING)) == []
    (said,) = config_problems({"model_type": "vit", "image_size": 384}, SEEING)
    assert said == "image_size is 384 there, 224 in spec.model.vision"
    (said,) = config_problems({"model_type": "clip"}, SEEING)
    assert said == "model_type is 'clip'; only 'vit' can be loaded"
