"""New raw data beside a dataset that is published: what is new, and whether it differs."""

import json
from collections import Counter

import pytest

from deepseek_workloads.contract.messages import DriftVerdict
from deepseek_workloads.contract.pipeline import (
    DeduplicateExact,
    FilterLength,
    IdentifyLanguage,
    PipelineStage,
)
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.prepare.drift import sampling
from deepseek_workloads.data.prepare.drift.check import check_drift
from deepseek_workloads.data.prepare.drift.sampling import draw_pieces
from deepseek_workloads.data.prepare.records import RawSlice
from deepseek_workloads.launch import drift_check
from deepseek_workloads.store.open import open_store

DOCUMENTS = 400


def _lines(name, *, count=DOCUMENTS, words=20, language="en"):
    """Documents of about the same length, each of its own."""
    records = [
        {"text": " ".join(f"{name}{number}x{at}" for at in range(words + number % 3)), "language": language}
        for number in range(count)
    ]
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def run(make_run, tmp_path):
    """Of a source whose documents of fewer than ten words are dropped, and equal ones."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    short = _lines("short", count=DOCUMENTS // 4, words=4)
    (folder / "first.jsonl").write_text(_lines("first") + short)
    pipeline = [
        PipelineStage(name="length", filter_length=FilterLength(min_words=10)),
        PipelineStage(name="equal", deduplicate_exact=DeduplicateExact()),
    ]
    source = RawSource(name="crawl", uri=folder.as_uri(), format="jsonl", include=["*.jsonl"])
    return make_run(raw_sources=[source], pipeline=pipeline)


@pytest.fixture
def digest(run, prepare):
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict
    return verdict.digest


@pytest.fixture
def check(run, digest):
    return lambda: check_drift(run, digest=digest, documents=10_000, seed=1, open_store=open_store)


def test_without_new_objects_there_is_nothing_to_compare(check) -> None:
    assert check().outcome == "NothingNew"


def test_new_data_of_the_same_kind_have_not_drifted(check, tmp_path) -> None:
    more = _lines("other") + _lines("brief", count=DOCUMENTS // 4, words=4)
    (tmp_path / "crawl/second.jsonl").write_text(more)
    verdict = check()
    assert (verdict.outcome, verdict.new_objects, verdict.documents) == ("Compared", 1, 500)
    assert set(verdict.divergences) == {"length", "language", "outcome"}
    assert max(verdict.divergences.values()) < 0.02


@pytest.mark.parametrize(
    ("feature", "lines"),
    [
        ("length", _lines("long", words=200)),
        ("language", _lines("deutsch", language="de")),
        ("outcome", _lines("tiny", words=4) + _lines("as-before", count=150)),
    ],
)
def test_each_feature_tells_of_its_own_drift(check, tmp_path, feature, lines) -> None:
    (tmp_path / "crawl/new.jsonl").write_text(lines)
    assert check().divergences[feature] > 0.25


@pytest.mark.parametrize(
    ("stages", "compared"),
    [
        ([], {"length", "outcome"}),
        (
            [PipelineStage(name="known", identify_language=IdentifyLanguage())],
            {"length", "language", "outcome"},
        ),
    ],
    ids=["not identified", "identified"],
)
def test_languages_of_pages_are_compared_where_a_stage_identifies_them(
    run, prepare, tmp_path, stages, compared
) -> None:
    """An older version took them from <html lang>, and its reports have them."""
    pages = tmp_path / "pages"
    pages.mkdir()
    source = RawSource(name="pages", uri=pages.as_uri(), format="html", include=["*.html"])
    run = run.model_copy(
        update={"raw_sources": [*run.raw_sources, source], "pipeline": [*stages, *run.pipeline]}
    )
    words = [" ".join(f"word{number}x{at}" for at in range(20)) for number in range(120)]
    (pages / "first.html").write_text(_page(words[0]))
    digest = prepare(run).digest
    for number, text in enumerate(words):
        (pages / f"new-{number}.html").write_text(_page(text))
    verdict = check_drift(run, digest=digest, documents=10_000, seed=1, open_store=open_store)
    assert (verdict.outcome, set(verdict.divergences)) == ("Compared", compared)


def _page(text: str) -> str:
    return f"<html lang=en><body><p>{text}</p></body></html>"


def test_an_object_that_was_overwritten_is_new(check, tmp_path) -> None:
    (tmp_path / "crawl/first.jsonl").write_text(_lines("other"))
    assert check().new_objects == 1


def test_a_handful_of_documents_tells_nothing(check, tmp_path) -> None:
    (tmp_path / "crawl/few.jsonl").write_text(_lines("few", count=20))
    verdict = check()
    assert (verdict.outcome, verdict.documents) == ("TooFewDocuments", 20)


def test_what_cannot_be_read_is_an_outcome(check, tmp_path) -> None:
    (tmp_path / "crawl/broken.jsonl").write_text("{broken\n" * DOCUMENTS)
    assert check().divergences["outcome"] > 0.25


def test_a_dataset_that_is_gone_is_a_verdict_that_names_it(run, digest, tmp_path) -> None:
    (tmp_path / "out/manifest.json").unlink()
    verdict = check_drift(run, digest=digest, documents=100, seed=1, open_store=open_store)
    assert verdict.outcome == "Failed"
    assert "manifest.json" in verdict.message


def test_the_program_leaves_its_verdict_as_termination_message(run, digest, tmp_path) -> None:
    (tmp_path / "run.json").write_bytes(run.to_json())
    files = ["--run-config", str(tmp_path / "run.json"), "--verdict-file", str(tmp_path / "verdict")]
    code = drift_check.main([*files, "--digest", digest, "--documents", "100", "--seed", "1"])
    verdict = DriftVerdict.model_validate_json((tmp_path / "verdict").read_bytes())
    assert (code, verdict.outcome) == (0, "NothingNew")


def test_a_sample_is_of_many_places_and_the_same_for_the_same_seed(run, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "PIECE_BYTES", 100)
    slices = [
        RawSlice(source=0, key=key, etag="e", size=size, start=0, end=size)
        for key, size in (("small.jsonl", 1000), ("large.jsonl", 9000), ("packed.jsonl.gz", 500))
    ]
    drawn = list(draw_pieces(run, slices, draws=10_000, seed=3))
    assert drawn == list(draw_pieces(run, slices, draws=10_000, seed=3))
    assert len({(piece.key, piece.start) for piece in drawn}) == len(drawn)
    assert Counter(piece.key for piece in drawn) == {
        "small.jsonl": 10,
        "large.jsonl": 90,
        "packed.jsonl.gz": 1,
    }
    covered = sorted((piece.start, piece.end) for piece in drawn if piece.key == "large.jsonl")
    assert covered == [(at, at + 100) for at in range(0, 9000, 100)]
