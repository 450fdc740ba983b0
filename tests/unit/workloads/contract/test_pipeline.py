"""Settings of stages that contradict themselves are refused, by the names that a spec has."""

import pytest

from deepseek_workloads.contract.pipeline import PipelineStage


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        (
            {"filterLength": {"minCharacters": 9, "maxCharacters": 8}},
            "minCharacters 9 is more than maxCharacters 8",
        ),
        ({"filterLength": {"minWords": 9, "maxWords": 8}}, "minWords 9 is more than maxWords 8"),
        ({"gopherQuality": {"minWords": 9, "maxWords": 8}}, "minWords 9 is more than maxWords 8"),
        (
            {"gopherQuality": {"minMeanWordLength": 11}},
            "minMeanWordLength 11.0 is more than maxMeanWordLength 10",
        ),
        ({"filterTfIdf": {"minMeanWeight": 0.96}}, "minMeanWeight 0.96 is more than maxMeanWeight 0.95"),
    ],
)
def test_limits_that_leave_nothing_are_refused(stage, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PipelineStage.model_validate({"name": "stage"} | stage)


def test_limits_that_leave_one_value_are_not() -> None:
    PipelineStage.model_validate({"name": "stage", "filterLength": {"minWords": 8, "maxWords": 8}})
