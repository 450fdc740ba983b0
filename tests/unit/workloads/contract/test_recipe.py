import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.objective import Consolidation, CurriculumStage, Lora, Pruning, Quantisation
from deepseek_workloads.contract.recipe import Recipe, completed, differences, recipe_of, up_to
from deepseek_workloads.contract.records import EpochRecord, parse_record
from deepseek_workloads.contract.run_config import (
    Data,
    Distillation,
    InitialExport,
    Owner,
    Source,
    Storage,
    TeacherLogitsLocation,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.contract.sample_order import SampleRange
from deepseek_workloads.plan.presets import PRESETS

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
)


@given(VALUES)
def test_a_recipe_does_not_differ_from_itself(value: object) -> None:
    assert differences(value, value) == []


@given(VALUES, VALUES)
def test_differences_are_found_from_both_sides(one: object, other: object) -> None:
    assert bool(differences(one, other)) == bool(differences(other, one))


def test_a_difference_names_its_path_and_both_values() -> None:
    theirs = {"data": {"sources": [{"name": "docs", "weight": 1.0}]}}
    ours = {"data": {"sources": [{"name": "docs", "weight": 2.0}]}}
    assert differences(theirs, ours) == ["data.sources[0].weight: 1.0 there, 2.0 here"]


def test_what_one_side_does_not_say_agrees_with_everything() -> None:
    assert differences({"digest": None, "new": 1}, {"digest": "sha256:0"}) == []


OBJECTIVES = {
    "consolidation": Consolidation(source="docs"),
    "distillation": Distillation(teacher=InitialExport(uri="s3://models/teacher")),
    "entrypoint": "research.loop:train",
    "freeze": ["projector"],
    "lora": Lora(),
    "loss_function": "research.losses:focal",
    "pruning": Pruning(sparsity=0.5, at_step=1),
    "quantisation": Quantisation(),
}
NOT_OF_THE_WEIGHTS = {"horovod", "micro_batch_size", "find_micro_batch_size", "compile"}


def run_of(**training: object) -> TrainingRun:
    storage = Storage(uri="s3://models/tiny")
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="uid-1"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=64),
        training=Training.model_validate({"steps": 10, "global_batch_size": 4, **training}),
        workers=Workers(num_nodes=1),
        storage=storage,
    )


def recorded(run: TrainingRun) -> Recipe:
    """As the commit log gives it back."""
    record = EpochRecord(epoch=1, writer="w", created_at="", run_config_digest="", recipe=recipe_of(run))
    read = parse_record(record.to_json())
    assert isinstance(read, EpochRecord)
    assert read.recipe is not None
    return read.recipe


def test_every_setting_of_training_that_may_be_left_away_is_looked_at() -> None:
    optional = {name for name, field in Training.model_fields.items() if field.default is None}
    assert optional - NOT_OF_THE_WEIGHTS == set(OBJECTIVES)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_run_without_a_setting_is_another_one_than_with_it(name: str) -> None:
    plain, other = run_of(), run_of(**{name: OBJECTIVES[name]})
    (added,) = differences(recorded(plain), recipe_of(other))
    (removed,) = differences(recorded(other), recipe_of(plain))
    path = f"training.{Training.model_fields[name].alias or name}"
    assert added.startswith(f"{path}: None there, ")
    assert removed.startswith(f"{path}: ")
    assert removed.endswith(" there, None here")


def test_a_run_from_random_weights_is_another_one_than_from_a_model() -> None:
    started = run_of().model_copy(update={"init_from": InitialExport(uri="s3://models/base")})
    assert differences(recorded(run_of()), recipe_of(started)) == [
        "initFrom: None there, s3://models/base here"
    ]


def test_a_run_with_an_encoder_of_its_own_is_another_one_than_with_a_checkpoints() -> None:
    started = run_of().model_copy(update={"vision_init_from": InitialExport(uri="s3://models/vit")})
    assert differences(recorded(run_of()), recipe_of(started)) == [
        "visionInitFrom: None there, s3://models/vit here"
    ]


def test_a_digest_that_one_side_does_not_know_agrees_with_everything() -> None:
    base = InitialExport(uri="s3://models/base")
    known = base.model_copy(update={"digest": "sha256:0"})
    one, other = (run_of().model_copy(update={"init_from": start}) for start in (base, known))
    assert differences(recorded(one), recipe_of(other)) == []
    assert differences(recorded(other), recipe_of(one)) == []


TEACHER = Distillation(teacher=InitialExport(uri="s3://models/teacher"))
STAGE = CurriculumStage(until_step=5, sequence_length=32)


def older() -> Recipe:
    """As it was recorded before a run could have the settings of `SINCE`."""
    recipe = recorded(run_of(distillation=TEACHER, curriculum=[STAGE]))
    del recipe["modelFunction"]
    for name in ("packing", "longConversations", "documentMask"):
        del recipe["data"][name]
    del recipe["training"]["distillation"]["teacherLogits"]
    del recipe["training"]["curriculum"][0]["maxDifficulty"]
    return recipe


def since(**changes: object) -> TrainingRun:
    """The run of `older` with another setting."""
    data = {name: value for name, value in changes.items() if name in Data.model_fields}
    training = {name: value for name, value in changes.items() if name in Training.model_fields}
    run = run_of(**{"distillation": TEACHER, "curriculum": [STAGE], **training})
    own = {name: value for name, value in changes.items() if name == "model_function"}
    return run.model_copy(update={"data": run.data.model_copy(update=data), **own})


SINCE = {
    "data.packing": since(packing="bucketed"),
    "data.longConversations": since(long_conversations="drop"),
    "data.documentMask": since(document_mask=True),
    "modelFunction": since(model_function="mine:model"),
    "training.curriculum[0].maxDifficulty": since(
        curriculum=[STAGE.model_copy(update={"max_difficulty": 0.5})]
    ),
    "training.distillation.teacherLogits": since(
        distillation=TEACHER.model_copy(
            update={"teacher_logits": TeacherLogitsLocation(uri="s3://models/logits")}
        )
    ),
}


@pytest.mark.parametrize("path", SINCE)
def test_a_setting_that_an_older_version_did_not_have_was_left_away_there(path: str) -> None:
    (line,) = differences(completed(older()), recipe_of(SINCE[path]))
    assert line.startswith(f"{path}: None there, ")
    assert differences(completed(older()), recipe_of(since())) == []


def test_a_record_of_today_is_complete() -> None:
    recipe = recipe_of(SINCE["data.packing"])
    assert completed(recipe) == recipe


def _skipping(*ranges: tuple[int, int]) -> TrainingRun:
    run = run_of()
    skip = [SampleRange(from_sample=first, to_sample=after) for first, after in ranges]
    return run.model_copy(update={"data": run.data.model_copy(update={"skip": skip})})


def test_ranges_to_skip_may_be_added_after_what_was_consumed_only() -> None:
    theirs, consumed = recorded(_skipping((10, 20))), 100  # which ended at place 110
    later, earlier = _skipping((10, 20), (110, 120)), _skipping((10, 20), (109, 120))
    assert differences(up_to(theirs, consumed), up_to(recipe_of(later), consumed)) == []
    assert differences(up_to(theirs, consumed), up_to(recipe_of(earlier), consumed))
