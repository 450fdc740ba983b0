"""Difficulty and copies, from the stages that know of them to the files beside the shards."""

from itertools import pairwise

import numpy as np
import pytest

from deepseek_workloads.contract.augmentation import ReplaceSynonyms, Synonyms
from deepseek_workloads.contract.pipeline import (
    DeduplicateExact,
    PipelineStage,
    ScoreDifficulty,
)
from deepseek_workloads.data.document_facts import read_document_facts
from deepseek_workloads.data.document_offsets import read_document_starts
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare.report import PreparationReport
from deepseek_workloads.data.prepare.tokenizer import load_tokenizer
from deepseek_workloads.store.interface import ObjectChanged
from deepseek_workloads.store.open import open_store

LEXICON = [Synonyms(word="loss", synonyms=["error"])]
SCORED = PipelineStage(name="difficulty", score_difficulty=ScoreDifficulty())
COPIED = PipelineStage(name="copies", replace_synonyms=ReplaceSynonyms(lexicon=LEXICON, rate=1))


@pytest.fixture
def published(make_run, prepare):
    def published(**changes):
        dataset_run = make_run(**changes)
        verdict = prepare(dataset_run)
        assert verdict.outcome == "Succeeded", verdict
        store = open_store(dataset_run.storage)
        return store, load_manifest(store, verdict.digest)

    return published


def _documents(store, manifest, shards) -> list[tuple[str, float, bool]]:
    """(text, difficulty, copy or not)"""
    decoder = load_tokenizer(store.read(manifest.tokenizer_key), name="tokenizer")
    starts = read_document_starts(store, shards)
    tokens = np.concatenate([np.frombuffer(store.read(shard.key), dtype=shard.dtype) for shard in shards])
    facts = read_document_facts(store, shards).tolist()
    assert len(facts) == len(starts) - 1
    texts = [decoder.decode(tokens[a:b].tolist()) for a, b in pairwise(starts)]
    return [(text, difficulty, bool(copy)) for text, (difficulty, copy) in zip(texts, facts, strict=True)]


def test_copies_are_marked_and_on_the_side_of_their_original(published) -> None:
    store, manifest = published(pipeline=[COPIED])
    splits = [_documents(store, manifest, shards) for shards in (manifest.train, manifest.held_out)]
    for documents in splits:
        originals = {text for text, _, copy in documents if not copy}
        copies = {text for text, _, copy in documents if copy}
        assert copies == {text.replace("loss", "error") for text in originals if "loss" in text}
        assert copies
    assert manifest.augmented_documents == sum(copy for each in splits for _, _, copy in each) == 60


def test_difficulty_is_that_of_rare_words_and_the_report_counts_it(published, raw) -> None:
    (raw / "notes" / "rare.txt").write_text("Zyzzyva quokka xylem syzygy. " * 3)
    store, manifest = published(
        pipeline=[SCORED, PipelineStage(name="equal", deduplicate_exact=DeduplicateExact())]
    )
    documents = _documents(store, manifest, [*manifest.train, *manifest.held_out])
    scores = {text: difficulty for text, difficulty, _ in documents}
    [rare] = [score for text, score in scores.items() if "Zyzzyva" in text]
    assert rare == max(scores.values()) == pytest.approx(1)
    assert min(scores.values()) >= 0
    [file] = [file for file in manifest.report.files if file.key.endswith("report.json")]
    report = PreparationReport.model_validate_json(store.read(file.key))
    assert sum(report.difficulties) == report.documents == len(documents)
    assert any(file.key.endswith("difficulty.png") for file in manifest.report.files)


def test_a_dataset_that_asks_for_neither_has_no_such_files(published) -> None:
    store, manifest = published()
    assert all(shard.facts is None for shard in [*manifest.train, *manifest.held_out])
    facts = read_document_facts(store, manifest.train)
    assert len(facts) == sum(shard.documents for shard in manifest.train)
    assert np.isnan(facts["difficulty"]).all()
    assert not facts["augmented"].any()


def test_facts_that_were_changed_are_not_read(published) -> None:
    store, manifest = published(pipeline=[SCORED])
    store.put(manifest.train[0].facts.key, b"other")
    with pytest.raises(ObjectChanged, match=r"\.facts"):
        read_document_facts(store, manifest.train)


def test_a_stage_after_copies_were_made_is_refused(make_run) -> None:
    with pytest.raises(ValueError, match=r"copies: makes copies.* move it to the end"):
        make_run(pipeline=[COPIED, SCORED])
