"""What is refused of an order of samples, with the field and a way out."""

import pytest

from deepseek_workloads.contract.architecture import Initialization
from deepseek_workloads.contract.run_config import (
    Data,
    Owner,
    Parallelism,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.contract.sample_order import MixtureStage, SampleRange
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_training


def _run(**data: object) -> TrainingRun:
    storage = Storage(uri="s3://models/tiny")
    sources = [Source(name=name, storage=storage) for name in ("docs", "code")]
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=sources, sequence_length=512, **data),
        training=Training(steps=100, global_batch_size=8),
        workers=Workers(num_nodes=2),
        storage=storage,
    )


def _stages(*stages: tuple[int, dict[str, float]]) -> list[MixtureStage]:
    return [MixtureStage(at_sample=start, weights=weights) for start, weights in stages]


def test_a_schedule_and_ranges_in_order_are_accepted() -> None:
    mixture = _stages((100, {"docs": 1, "code": 3}), (200, {"code": 1}))
    skip = [SampleRange(from_sample=0, to_sample=5), SampleRange(from_sample=5, to_sample=6)]
    assert check_training(_run(mixture=mixture, skip=skip)) == []


@pytest.mark.parametrize(
    ("stages", "field", "told"),
    [
        ([(100, {"docs": 1, "cod": 3})], "[0].weights", "cod: must name sources of the job: docs, code"),
        ([(100, {"docs": 0})], "[0].weights", "docs 0: must be 0 or more each, and one of them above 0"),
        ([(100, {"docs": 1})] * 2, "[1]", "sample 100: must begin after the stage before it"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(stages, field, told) -> None:
    (problem,) = check_training(_run(mixture=_stages(*stages)))
    assert problem.field == f"spec.data.mixture.schedule{field}"
    assert told in str(problem)


def _bucketed(*, objective: str = "sft", **architecture: object) -> TrainingRun:
    run = _run(packing="bucketed")
    changed = resolve("deepseek-v3-tiny", architecture)
    training = run.training.model_copy(update={"objective": objective})
    return run.model_copy(update={"architecture": changed, "training": training})


@pytest.mark.parametrize("architecture", [{}, {"attention": {"kind": "gqa"}}])
def test_batches_of_similar_length_go_with_attention_that_padding_cannot_reach(architecture) -> None:
    assert check_training(_bucketed(**architecture)) == []


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"attention": {"kind": "lsh"}}, "attention.kind lsh"),
        ({"attention": {"headGate": {}}}, "attention.headGate"),
        ({"qLoraRank": 32, "indexer": {"indexHeadDim": 16}}, "an indexer"),
        ({"moe": {"expertCapacityFactor": 1.0}}, "moe.expertCapacityFactor"),
    ],
)
def test_batches_of_similar_length_are_refused_where_padding_would_count(architecture, said) -> None:
    (problem,) = check_training(_bucketed(**architecture))
    assert (problem.field, problem.value) == ("spec.data.packing", "bucketed")
    assert said in problem.rule
    assert "use packing packed" in problem.remedy


def test_running_text_has_no_lengths() -> None:
    (problem,) = check_training(_bucketed(objective="pretrain"))
    assert problem.field == "spec.data.packing"
    assert "objective sft" in problem.remedy


def test_ranges_that_overlap_are_refused() -> None:
    skip = [SampleRange(from_sample=10, to_sample=20), SampleRange(from_sample=19, to_sample=30)]
    (problem,) = check_training(_run(skip=skip))
    assert str(problem).startswith("spec.data.skip[1].fromSample: 19: must not be below toSample")


def test_a_range_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="toSample 10: must be above fromSample 10"):
        SampleRange(from_sample=10, to_sample=10)


@pytest.mark.parametrize("degree", [f"{kind}ParallelDegree" for kind in ("tensor", "pipeline", "context")])
def test_documents_are_kept_apart_in_whole_rows(degree: str) -> None:
    run = _run(document_mask=True)
    assert check_training(run) == []
    divided = run.training.model_copy(update={"parallelism": Parallelism.model_validate({degree: 2})})
    (problem,) = check_training(run.model_copy(update={"training": divided}))
    assert (problem.field, problem.value) == (f"spec.training.parallelism.{degree}", "2")
    assert "data.documentMask" in problem.rule


@pytest.mark.parametrize(
    ("preset", "overrides"), [("transformer-5m", {}), ("deepseek-v3-tiny", {"indexer": {}})]
)
def test_documents_want_attention_that_keeps_them_apart(preset: str, overrides: dict[str, object]) -> None:
    mixing = _run(document_mask=True).model_copy(update={"architecture": resolve(preset, overrides)})
    (problem,) = check_training(mixing)
    assert (problem.field, problem.reason) == ("spec.data.documentMask", "InvalidTraining")
    assert "use a model of attention.kind mla without an indexer" in problem.remedy


def test_a_model_of_the_users_own_gets_no_mask_but_an_entrypoint_does() -> None:
    run = _run(document_mask=True)
    (problem,) = check_training(run.model_copy(update={"model_function": "own.code:build"}))
    assert problem.field == "spec.data.documentMask"
    given = run.training.model_copy(update={"entrypoint": "own.code:train"})
    assert check_training(run.model_copy(update={"training": given})) == []


@pytest.mark.parametrize(("document_mask", "fields"), [(False, []), (True, ["moe.expertCapacityFactor"])])
def test_experts_with_a_capacity_would_mix_documents_of_a_row(document_mask: bool, fields: list[str]) -> None:
    run = _run(document_mask=document_mask)
    moe = run.architecture.moe
    assert moe is not None
    limited = moe.model_copy(update={"expert_capacity_factor": 1.5})
    run = run.model_copy(update={"architecture": run.architecture.model_copy(update={"moe": limited})})
    assert [
        problem.field.removeprefix("spec.model.architecture.") for problem in check_training(run)
    ] == fields
    assert check_training(run, begun=True) == []


def test_a_pattern_of_first_weights_must_fit_some() -> None:
    rules = (
        Initialization(pattern="model.layers.*.down_proj*", scheme="xavierNormal"),
        Initialization(pattern="model.layer.*", scheme="xavierNormal"),
    )
    run = _run()
    architecture = run.architecture.model_copy(update={"initialization": rules})
    (problem,) = check_training(run.model_copy(update={"architecture": architecture}))
    assert problem.field == "spec.model.architecture.initialization[1].pattern"
    assert "model.embed_tokens.weight" in problem.remedy
