"""Which stages share a pass, and by which names they are shown and kept."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.messages import MAX_PROGRESS_BYTES, Progress, StageProgress
from deepseek_workloads.contract.pipeline import (
    RESERVED_NAMES,
    Decontaminate,
    DeduplicateExact,
    DeduplicateNear,
    DeduplicateSemantic,
    DeduplicateSubstrings,
    FilterLength,
    FilterPerplexity,
    FilterTfIdf,
    PipelineStage,
    ScoreDifficulty,
    is_global,
    web_recipe,
)
from deepseek_workloads.data.prepare.plan import (
    GlobalStep,
    RecordPass,
    plan_steps,
    progress_names,
    stages_of,
)
from deepseek_workloads.data.prepare.stage import READ, TOKENIZE, TOKENIZER

KINDS = {
    "filter_length": FilterLength(),
    "deduplicate_exact": DeduplicateExact(),
    "deduplicate_near": DeduplicateNear(),
    "deduplicate_semantic": DeduplicateSemantic(model={"uri": "s3://bucket/model"}),
    "deduplicate_substrings": DeduplicateSubstrings(),
    "score_difficulty": ScoreDifficulty(),
    "filter_tf_idf": FilterTfIdf(),
    "filter_perplexity": FilterPerplexity(uris=["s3://bucket/prose.txt"], max_perplexity=20),
    "decontaminate": Decontaminate(uris=["s3://bucket/questions.jsonl"]),
}
PIPELINES = st.lists(st.sampled_from(sorted(KINDS)), max_size=12).map(
    lambda kinds: [PipelineStage(name=f"s{at}", **{kind: KINDS[kind]}) for at, kind in enumerate(kinds)]
)


@given(PIPELINES)
def test_every_stage_is_carried_out_once_and_in_order(stages) -> None:
    steps = plan_steps(stages)
    carried_out = [
        stage for step in steps for stage in (step.stages if isinstance(step, RecordPass) else [step.stage])
    ]
    assert carried_out == stages


@given(PIPELINES)
def test_neighbours_share_a_pass_and_stages_over_all_documents_have_none(stages) -> None:
    steps = plan_steps(stages)
    for step in steps:
        if isinstance(step, RecordPass):
            assert not any(is_global(stage.settings) for stage in step.stages)
    for step, following in pairwise(steps):
        assert isinstance(step, GlobalStep) or isinstance(following, GlobalStep)


@given(PIPELINES)
def test_names_of_substeps_are_never_the_same(stages) -> None:
    names = [name for step in plan_steps(stages) for name in step.substeps]
    assert len(set(names)) == len(names)


def test_without_a_pipeline_equal_documents_are_dropped_if_they_are_to_be(make_run) -> None:
    assert [stage.name for stage in stages_of(make_run())] == ["deduplicate"]
    assert stages_of(make_run(deduplicate=False)) == []


def test_the_recipe_for_the_web_ends_with_duplicates(make_run) -> None:
    first, *rest = plan_steps(stages_of(make_run(pipeline=web_recipe())))
    assert isinstance(first, RecordPass)
    assert [step.name for step in rest] == ["deduplicate-exact", "deduplicate-near"]


def test_the_progress_of_the_longest_pipeline_can_be_told(make_run) -> None:
    """Of as many stages as there may be, each with the most substeps and the longest name."""
    stages = [
        PipelineStage(name=f"{at:02d}-{'n' * 60}", deduplicate_near=DeduplicateNear()) for at in range(24)
    ]
    names = progress_names(make_run(pipeline=stages))
    shown = [StageProgress(name=name, done=99_999, total=99_999) for name in names]
    assert len(Progress(phase="Preparing", stages=shown).to_json()) < MAX_PROGRESS_BYTES


def test_names_of_every_dataset_are_reserved() -> None:
    assert set(RESERVED_NAMES) == {READ, TOKENIZER, TOKENIZE}
