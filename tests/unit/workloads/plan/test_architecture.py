"""A preset's name and the overrides of a resource become one architecture, or every reason why not."""

import pytest

from deepseek_workloads.plan.architecture import ArchitectureRefused, resolve
from deepseek_workloads.plan.presets import PRESETS


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_without_overrides_is_taken_as_it_is(preset: str) -> None:
    assert resolve(preset) == PRESETS[preset]


@pytest.mark.parametrize("spelling", ["numHiddenLayers", "num_hidden_layers"])
def test_an_override_replaces_one_field_and_keeps_the_others(spelling: str) -> None:
    changed = resolve("deepseek-v3-tiny", {spelling: 6})

    assert changed == PRESETS["deepseek-v3-tiny"].model_copy(update={"num_hidden_layers": 6})


def test_a_nested_override_keeps_the_other_fields_of_its_part() -> None:
    tiny = PRESETS["deepseek-v3-tiny"]

    changed = resolve("deepseek-v3-tiny", {"moe": {"nRoutedExperts": 16}})

    assert changed.moe == tiny.moe.model_copy(update={"n_routed_experts": 16})


def test_rope_scaling_can_be_added_to_a_preset_without_it() -> None:
    changed = resolve(
        "deepseek-v3-tiny", {"ropeScaling": {"factor": "4", "originalMaxPositionEmbeddings": 512}}
    )

    assert changed.rope_scaling is not None
    assert changed.rope_scaling.factor == 4.0


def test_a_null_takes_an_optional_part_away() -> None:
    changed = resolve("deepseek-v3", {"qLoraRank": None, "ropeScaling": None})

    assert (changed.q_lora_rank, changed.rope_scaling) == (None, None)


def test_decimals_may_be_strings_as_the_resource_writes_them() -> None:
    assert resolve("deepseek-v3-tiny", {"ropeTheta": "5e5"}).rope_theta == 5e5


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ArchitectureRefused) as refusal:
        resolve("deepseek-v3-tinny")

    (problem,) = refusal.value.problems
    assert (problem.field, problem.reason) == ("spec.model.preset", "UnknownPreset")
    assert "deepseek-v3-tiny" in problem.remedy


def test_unknown_names_are_all_reported_with_their_paths_and_the_nearest_name() -> None:
    with pytest.raises(ArchitectureRefused) as refusal:
        resolve("deepseek-v3-tiny", {"hiddensize": 64, "moe": {"numExperts": 4}})

    problems = {problem.field: problem for problem in refusal.value.problems}
    assert set(problems) == {"spec.model.architecture.hiddensize", "spec.model.architecture.moe.numExperts"}
    assert "hiddenSize" in problems["spec.model.architecture.hiddensize"].remedy


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"hiddenSize": 0}, "spec.model.architecture.hiddenSize"),
        ({"moe": {"nRoutedExperts": "many"}}, "spec.model.architecture.moe.nRoutedExperts"),
        ({"ropeScaling": {"factor": 4}}, "spec.model.architecture.ropeScaling.originalMaxPositionEmbeddings"),
    ],
)
def test_a_bad_value_is_reported_at_its_field(overrides: dict[str, object], field: str) -> None:
    with pytest.raises(ArchitectureRefused) as refusal:
        resolve("deepseek-v3-tiny", overrides)

    assert [problem.field for problem in refusal.value.problems] == [field]


def test_without_a_preset_every_missing_field_is_named() -> None:
    with pytest.raises(ArchitectureRefused) as refusal:
        resolve(None, {"vocabSize": 100})

    assert "spec.model.architecture.hiddenSize" in {problem.field for problem in refusal.value.problems}
