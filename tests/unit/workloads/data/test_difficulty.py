"""A curriculum by difficulty: what a window's difficulty is, and what each stage reads, and how often."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract.objective import CurriculumStage
from deepseek_workloads.contract.records import DatasetManifest, FileEntry
from deepseek_workloads.contract.sample_order import MixtureStage
from deepseek_workloads.data.audit import audit_order
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.cursor import SamplePlan, check_epochs
from deepseek_workloads.data.difficulty import (
    LEVELS,
    DifficultyStage,
    difficulty_stages,
    read_levels,
    threshold_for,
    window_levels,
)
from deepseek_workloads.data.document_facts import FACTS_DTYPE
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.source_plan import DifficultyCurriculum
from deepseek_workloads.data.stream import BatchStream

LENGTH = 4
FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15
)


def _facts(difficulties) -> np.ndarray:
    facts = np.zeros(len(difficulties), dtype=FACTS_DTYPE)
    facts["difficulty"] = difficulties
    return facts


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=3, max_size=30))
def test_a_windows_difficulty_is_the_mean_over_its_tokens(documents) -> None:
    sizes, difficulties = zip(*documents, strict=True)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    levels = window_levels(_facts(difficulties), starts, sequence_length=LENGTH)
    of_tokens = np.repeat(difficulties, sizes)
    for window, level in enumerate(levels):
        expected = of_tokens[window * LENGTH : window * LENGTH + LENGTH + 1].mean()
        assert abs(level / LEVELS - expected) <= 1.5 / LEVELS


def test_a_document_without_words_counts_as_the_hardest() -> None:
    levels = window_levels(_facts([0.0, np.nan]), np.array([0, 5, 20]), sequence_length=LENGTH)
    assert levels[0] == 0
    assert levels[-1] == LEVELS


def test_stages_become_places_of_the_order_and_equal_thresholds_one_stage() -> None:
    curriculum = [
        CurriculumStage(until_step=2, max_difficulty=0.2, sequence_length=2),
        CurriculumStage(until_step=3, max_difficulty=0.2),
        CurriculumStage(until_step=7, max_difficulty=0.5),
    ]
    assert difficulty_stages(curriculum, global_batch_size=10) == (
        DifficultyStage(0, 0.2),
        DifficultyStage(30, 0.5),
        DifficultyStage(70, None),
    )
    by_length = [CurriculumStage(until_step=2, sequence_length=2)]
    assert difficulty_stages(by_length, global_batch_size=10) == ()
    length_first = [*by_length, CurriculumStage(until_step=5, max_difficulty=0.5)]
    assert difficulty_stages(length_first, global_batch_size=10) == (
        DifficultyStage(0, None),
        DifficultyStage(20, 0.5),
        DifficultyStage(50, None),
    )


def _curriculum(levels, *stages: tuple[int, float | None]) -> DifficultyCurriculum:
    of_sources = tuple(np.asarray(of_source, dtype=np.uint16) for of_source in levels)
    return DifficultyCurriculum(tuple(DifficultyStage(*stage) for stage in stages), of_sources)


@FIXTURES
@given(
    shares=st.lists(st.floats(0, 1), min_size=40, max_size=40),
    ends=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    seed=st.integers(0, 2**31),
    change=st.integers(1, 300),
)
def test_each_epoch_of_a_stage_takes_each_window_below_its_threshold_once(
    shares, ends, seed, change, new_store, write_dataset, make_data
) -> None:
    """Of two sources, whose weights change on the way."""
    of_windows = [np.array(part) * LEVELS for part in (shares[:25], shares[25:])]
    for levels in of_windows:
        levels[0] = 0  # each stage has a window
    manifests = [write_dataset(new_store(name), [101], chunk_tokens=2) for name in "ab"]  # 25 windows
    manifests[1] = write_dataset(new_store("b2"), [61], chunk_tokens=2)  # 15
    stages = ((0, 0.3), (ends[0], 0.6), (ends[0] + ends[1], None))
    mixture = [MixtureStage(at_sample=change, weights={"source-1": 1, "source-0": 3})]
    data = make_data([2, 1], seed=seed).model_copy(update={"mixture": mixture})
    plan = SamplePlan(data, manifests, difficulty=_curriculum(of_windows, *stages))
    samples = 600
    found = plan.locate_many(np.arange(samples))
    for (start, limit), (end, _) in pairwise([*stages, (samples, None)]):
        part = found.part(start, end)
        for source, levels in enumerate(of_windows):
            level = LEVELS if limit is None else int(limit * LEVELS)
            allowed = np.flatnonzero(levels.astype(np.uint16) <= level)
            windows = part.window[part.source == source]
            seen = Counter(windows.tolist())
            assert seen.keys() <= set(allowed.tolist())
            counts = [seen[window] for window in allowed.tolist()]
            assert max(counts) - min(counts) <= 1
    assert all(of_source.in_order for of_source in audit_order(plan, samples=samples))
    resumed = plan.locate_many(np.arange(317, samples))
    assert (resumed.sample_id == found.sample_id[317:]).all()


def test_batches_get_harder_and_are_the_same_however_they_are_read(
    new_store, write_dataset, make_data
) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [4 * 512 + 1], chunk_tokens=16)
    levels = np.random.default_rng(0).integers(0, LEVELS, 512)
    stages = ((0, 0.25), (96, 0.5), (192, None))
    plan = SamplePlan(make_data(seed=3), [manifest], difficulty=_curriculum([levels], *stages))

    def read(world_size: int, start: int, **options) -> list[list[int]]:
        """Sample ids of each step."""
        steps = []
        for _ in range((288 - start) // 16):
            steps.append([])
        for rank in range(world_size):
            with BatchStream(
                plan,
                [store],
                rank=rank,
                world_size=world_size,
                global_batch_size=16,
                start_sample=start,
                end_sample=288,
                **options,
            ) as stream:
                for step in steps:
                    for batch in stream.next_step():
                        first = plan.sources[0].windows.bounds(batch.sample_ids[0])[0]
                        assert batch.input_ids[0, 0] == first
                        step += batch.sample_ids
        return steps

    steps = read(1, 0, micro_batch_size=16, prefetch_batches=1)
    assert steps == read(4, 0, micro_batch_size=2, prefetch_batches=9)
    assert steps[7:] == read(2, 7 * 16, micro_batch_size=3)
    means = [np.mean(levels[np.array(steps[first : first + 6])]) / LEVELS for first in (0, 6, 12)]
    assert means == pytest.approx([0.125, 0.25, 0.5], abs=0.05)


def test_an_order_that_leaves_its_stage_is_found(
    new_store, write_dataset, make_data, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = np.linspace(0, LEVELS, 50).astype(np.uint16)
    stages = ((0, 0.5), (40, None))
    plan = SamplePlan(
        make_data(), [write_dataset(new_store("a"), [201])], difficulty=_curriculum([levels], *stages)
    )
    original = plan.locate_many
    assert audit_order(plan, samples=90)[0].in_order

    def broken(samples):
        found = original(samples)
        return replace(found, window=np.where(found.window == 3, 49, found.window))

    monkeypatch.setattr(plan, "locate_many", broken)
    (audit,) = audit_order(plan, samples=90)
    assert audit.unasked == 2, "once in each of the first stage's epochs"
    assert not audit.in_order


def test_a_threshold_below_all_windows_is_refused_with_the_easiest(
    new_store, write_dataset, make_data
) -> None:
    levels = np.full(50, LEVELS // 4)
    with pytest.raises(DatasetError, match=r"source-0.*maxDifficulty 0.1: none of its 50.*needs 0\.2500"):
        SamplePlan(
            make_data(),
            [write_dataset(new_store("a"), [201])],
            difficulty=_curriculum([levels], (0, 0.1), (40, None)),
        )


def test_the_threshold_that_a_refusal_names_is_accepted_and_no_other_below_it() -> None:
    for level in range(LEVELS + 1):
        named = threshold_for(level)
        assert named <= 1
        assert DifficultyStage(0, float(f"{named:.4f}")).max_level >= level
        assert DifficultyStage(0, named - 0.0001).max_level < level or named == 0


def test_max_epochs_counts_the_windows_that_every_stage_takes(new_store, write_dataset, make_data) -> None:
    """100 windows, half of them easy: 100 samples of the first stage and 100 of the second are 3 epochs."""
    levels = np.repeat([0, LEVELS], 50)
    data = make_data()
    limited = data.model_copy(update={"sources": [data.sources[0].model_copy(update={"max_epochs": 3})]})
    plan = SamplePlan(
        limited,
        [write_dataset(new_store("a"), [401])],
        difficulty=_curriculum([levels], (0, 0.5), (100, None)),
    )
    check_epochs(plan, samples=200)
    with pytest.raises(DatasetError, match=r"3\.01 epochs of its 100, for those that every stage"):
        check_epochs(plan, samples=201)


def _with_facts(store, manifest: DatasetManifest, difficulties) -> DatasetManifest:
    (shard,) = manifest.train
    content = _facts(difficulties).tobytes()
    starts = np.linspace(0, shard.tokens, len(difficulties), endpoint=False).astype("<u8").tobytes()
    store.put("data/facts", content)
    store.put(shard.document_offsets_key, starts)
    update = {
        "documents": len(difficulties),
        "facts": FileEntry(key="data/facts", size=len(content), checksum=object_checksum(content)),
        "document_offsets_checksum": object_checksum(starts),
    }
    return manifest.model_copy(update={"train": [shard.model_copy(update=update)]})


def test_levels_are_read_from_beside_the_shards(new_store, write_dataset) -> None:
    store = new_store("a")
    manifest = _with_facts(store, write_dataset(store, [201]), [0.0, 1.0])
    levels = read_levels(store, manifest, source="web", sequence_length=LENGTH)
    assert (levels[0], levels[-1], len(levels)) == (0, LEVELS, 50)


@pytest.mark.parametrize("described", [True, False])
def test_documents_without_a_difficulty_are_refused_with_the_stage_to_add(
    new_store, write_dataset, described
) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [201])
    if described:  # for its copies
        manifest = _with_facts(store, manifest, [np.nan, np.nan])
    with pytest.raises(DatasetError, match=r"'web'.*no difficulty.*add a stage scoreDifficulty"):
        read_levels(store, manifest, source="web", sequence_length=LENGTH)
