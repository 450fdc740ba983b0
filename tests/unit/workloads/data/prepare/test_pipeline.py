"""The whole preparation over real files: what is published, what is refused, what a restart repeats."""

import gzip
import json
import pickle
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.pipeline import (
    Decontaminate,
    DeduplicateExact,
    DeduplicateNear,
    DeduplicateSubstrings,
    FilterLength,
    FilterTfIdf,
    NormalizeUnicode,
    PipelineStage,
    RedactPii,
    RepairEncoding,
)
from deepseek_workloads.contract.records import EvaluationItems
from deepseek_workloads.contract.run_config import Owner, RawSource, Storage, TokenizerTraining
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare.encoding import encode_documents
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare as run_preparation
from deepseek_workloads.data.prepare.report import PreparationReport
from deepseek_workloads.data.prepare.tokenizer import load_tokenizer
from deepseek_workloads.store.interface import StoreUnavailable
from deepseek_workloads.store.open import open_store

ENGLISH = "The operator watches the job, and the job watches its loss. It went down {n} times in {m} days.\n"


def _documents(store, shards) -> list[list[int]]:
    """Token ids of each document, cut at the offsets of the shards."""
    documents = []
    for shard in shards:
        tokens = np.frombuffer(store.read(shard.key), dtype=shard.dtype)
        starts = np.frombuffer(store.read(shard.document_offsets_key), dtype="<u8").tolist()
        assert len(starts) == shard.documents
        documents += [tokens[a:b].tolist() for a, b in pairwise([*starts, len(tokens)])]
    return documents


def _published(dataset_run, verdict):
    assert verdict.outcome == "Succeeded", verdict
    store = open_store(dataset_run.storage)
    return store, load_manifest(store, verdict.digest)


def _run(dataset_run, opener, executor, report):
    return run_preparation(dataset_run, open_store=opener, executor=executor, report=report)


@pytest.fixture
def prepared(make_run, prepare):
    dataset_run = make_run()
    return _published(dataset_run, prepare(dataset_run))


def test_every_distinct_document_is_in_exactly_one_split_and_comes_back(prepared, raw) -> None:
    store, manifest = prepared
    tokenizer = load_tokenizer(store.read(manifest.tokenizer_key), name="t")
    documents = _documents(store, [*manifest.train, *manifest.held_out])
    assert all(ids[-1] == manifest.eos_token_id for ids in documents)
    texts = Counter(tokenizer.decode(ids[:-1]) for ids in documents)
    notes = [path.read_text() for path in (raw / "notes").iterdir()]
    pages = [json.loads(line)["text"] for line in (raw / "pages.jsonl").read_text().splitlines()]
    assert texts == Counter({*notes, *pages})


def test_the_manifest_counts_what_went_in_and_what_stayed(prepared) -> None:
    _, manifest = prepared
    train, held_out = manifest.statistics["train"], manifest.statistics["heldOut"]
    assert (manifest.documents_in, manifest.duplicates_dropped, manifest.bad_records) == (180, 20, 0)
    assert train.documents + held_out.documents == 160
    assert held_out.documents > 10
    assert train.tokens == sum(shard.tokens for shard in manifest.train)
    assert manifest.languages == {"zh": 100}
    assert held_out.unigram_bits_per_byte is not None
    assert train.unigram_bits_per_byte is not None


def test_the_baseline_is_what_the_shards_give(prepared) -> None:
    store, manifest = prepared
    counts = [
        np.bincount(
            np.concatenate([np.frombuffer(store.read(shard.key), dtype=shard.dtype) for shard in shards]),
            minlength=manifest.vocab_size,
        )
        for shards in (manifest.train, manifest.held_out)
    ]
    probabilities = (counts[0] + 1) / (counts[0] + 1).sum()
    bits = -(counts[1] * np.log2(probabilities)).sum() / manifest.statistics["heldOut"].bytes
    assert manifest.statistics["heldOut"].unigram_bits_per_byte == pytest.approx(bits)


def test_shards_end_at_the_document_that_fills_them(prepared) -> None:
    _, manifest = prepared
    last_of_its_part = {shard.key.rpartition("-")[0]: shard for shard in manifest.train}.values()
    assert len(last_of_its_part) > 1
    others = [shard for shard in manifest.train if shard not in last_of_its_part]
    assert others
    assert all(1024 <= shard.tokens < 1024 + 300 for shard in others)


def test_the_digest_does_not_depend_on_how_it_was_run(make_run, prepare, tmp_path) -> None:
    digests = {
        prepare(make_run(storage=Storage(uri=f"file://{tmp_path}/{threads}")), threads=threads).digest
        for threads in (1, 4)
    }
    assert len(digests) == 1


def test_only_what_the_manifest_names_is_left(prepared) -> None:
    store, manifest = prepared
    shards = [*manifest.train, *manifest.held_out]
    named = {"manifest.json", manifest.tokenizer_key, manifest.raw_objects.key}
    named |= {file.key for file in manifest.report.files}
    named |= {shard.key for shard in shards} | {shard.document_offsets_key for shard in shards}
    assert {info.key for info in store.list("")} == named


def test_again_it_is_found_published_and_nothing_is_done(make_run, prepare) -> None:
    first = prepare(make_run())
    refusing = _Refusing()
    again = _run(make_run(), open_store, refusing, lambda _: None)
    assert (again.outcome, again.digest, again.statistics) == ("Succeeded", first.digest, first.statistics)


class _Refusing:
    def run(self, task, items):
        raise AssertionError("no stage may run")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [({"normalization": "nfkc"}, "settings"), ({"tokenizer": TokenizerTraining(vocab_size=300)}, "settings")],
)
def test_a_published_dataset_is_never_overwritten(make_run, prepare, changes, difference) -> None:
    first = prepare(make_run())
    second = prepare(make_run(**changes))
    assert (second.outcome, second.reason) == ("Failed", reasons.DATASET_EXISTS)
    assert f"was prepared from other {difference}" in second.message
    assert "fresh storage.uri" in second.message
    assert load_manifest(open_store(make_run().storage), first.digest)


def test_changed_raw_objects_are_another_dataset_for_another_resource(make_run, prepare, raw) -> None:
    first = prepare(make_run())
    (raw / "notes" / "new.txt").write_text("one more note, about nothing in particular\n")
    stranger = prepare(make_run(owner=Owner(namespace="research", name="docs", uid="uid-2")))
    assert (stranger.outcome, stranger.reason) == ("Failed", reasons.DATASET_EXISTS)
    assert prepare(make_run()).digest == first.digest  # the resource's own, whose verdict may have been lost


def test_too_many_bad_records_fail_with_examples_and_a_quarantine(make_run, prepare, raw) -> None:
    (raw / "notes" / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    with (raw / "pages.jsonl").open("a") as file:
        file.write('{"text": 7}\nnot json\n')
    verdict = prepare(make_run(max_bad_records=2))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.TOO_MANY_BAD_RECORDS)
    assert verdict.exit_code == ExitCode.BAD_INPUT
    assert "3 records cannot be read and 2 may: latin.txt at byte 0: not UTF-8" in verdict.message
    store = open_store(make_run().storage)
    quarantined = [store.read(info.key) for info in store.list("quarantine/")]
    reasons_found = [json.loads(line)["reason"] for content in quarantined for line in content.splitlines()]
    assert len(reasons_found) == 3
    assert "manifest.json" not in {info.key for info in store.list("")}


def test_records_that_are_too_large_are_bad_ones(make_run, prepare, raw, monkeypatch) -> None:
    """One text object and one line, of a part that is else in order."""
    for module in ("reading", "read_stage"):
        monkeypatch.setattr(f"deepseek_workloads.data.prepare.{module}.MAX_RECORD_BYTES", 2000)
    (raw / "notes" / "large.txt").write_text("word " * 401)
    with (raw / "pages.jsonl").open("a") as file:
        file.write(json.dumps({"text": "word " * 401}) + "\n")
    dataset_run = make_run(max_bad_records=2)
    _, manifest = _published(dataset_run, prepare(dataset_run))
    assert (manifest.documents_in, manifest.bad_records) == (180, 2)
    store = open_store(dataset_run.storage)
    quarantined = [line for info in store.list("quarantine/") for line in store.read(info.key).splitlines()]
    assert all("larger than 2000 bytes" in json.loads(line)["reason"] for line in quarantined)
    assert sorted(json.loads(line)["size"] for line in quarantined) == [2005, 2017]


def test_as_many_bad_records_as_allowed_are_set_aside(make_run, prepare, raw) -> None:
    with (raw / "pages.jsonl").open("a") as file:
        file.write('{"text": 7}\n\n')
    dataset_run = make_run(max_bad_records=1)
    _, manifest = _published(dataset_run, prepare(dataset_run))
    assert manifest.bad_records == 1


@pytest.mark.parametrize(("share", "outcome"), [(0.01, "Failed"), (0.03, "Succeeded"), (1.0, "Succeeded")])
def test_bad_records_may_be_a_share_of_all(make_run, prepare, raw, share, outcome) -> None:
    """4 of 184, a little more than two in a hundred."""
    with (raw / "pages.jsonl").open("a") as file:
        file.write('{"text": 7}\n' * 4)
    verdict = prepare(make_run(max_bad_share=share))
    assert verdict.outcome == outcome
    if outcome == "Failed":
        assert "4 records cannot be read and 1 may" in verdict.message


def test_documents_without_text_are_dropped_and_counted(make_run, prepare, raw) -> None:
    (raw / "notes" / "blank.txt").write_text(" \n\t\n")
    _, manifest = _published(make_run(), prepare(make_run()))
    assert (manifest.empty_documents, manifest.documents_in) == (1, 181)


def test_without_deduplication_repeats_stay(make_run, prepare) -> None:
    dataset_run = make_run(deduplicate=False)
    _, manifest = _published(dataset_run, prepare(dataset_run))
    assert (manifest.duplicates_dropped, sum(shard.documents for shard in manifest.train)) > (-1, 100)
    assert sum(split.documents for split in manifest.statistics.values()) == 180


def test_no_raw_object_is_said_with_the_patterns(make_run, prepare, raw) -> None:
    source = RawSource(name="notes", uri=f"file://{raw}", include=["*.md"])
    verdict = prepare(make_run(raw_sources=[source]))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.NO_RAW_OBJECTS)
    assert "['*.md']" in verdict.message


def test_blank_raw_objects_only_are_an_empty_dataset(make_run, prepare, raw) -> None:
    (raw / "blank.md").write_text("\n")
    source = RawSource(name="notes", uri=f"file://{raw}", include=["*.md"])
    assert prepare(make_run(raw_sources=[source])).reason == reasons.EMPTY_DATASET


def test_a_vocabulary_without_room_is_refused_before_any_work(make_run, prepare) -> None:
    verdict = prepare(make_run(tokenizer=TokenizerTraining(vocab_size=257)))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert list(open_store(make_run().storage).list("")) == []


def test_a_tokenizer_that_is_given_is_used_as_it_is(prepared, make_run, prepare, tmp_path, raw) -> None:
    store, first = prepared
    document = store.read(first.tokenizer_key)
    (tmp_path / "given.json").write_bytes(document)
    dataset_run = make_run(
        tokenizer=None,
        tokenizer_uri=f"file://{tmp_path}/given.json",
        storage=Storage(uri=f"file://{tmp_path}/second"),
    )
    second_store, second = _published(dataset_run, prepare(dataset_run))
    assert second_store.read(second.tokenizer_key) == document
    tokenizer = load_tokenizer(document, name="t")
    note = (raw / "notes" / "000.txt").read_text()
    [ids] = encode_documents(tokenizer, [note], eos_token_id=second.eos_token_id)
    assert ids.tolist() in _documents(second_store, [*second.train, *second.held_out])


def test_a_tokenizer_may_be_given_as_the_manifest_of_the_dataset_that_has_it(
    prepared, make_run, prepare, tmp_path
) -> None:
    store, first = prepared
    dataset_run = make_run(
        tokenizer=None,
        tokenizer_uri=f"{store.uri}/manifest.json",
        storage=Storage(uri=f"file://{tmp_path}/second"),
    )
    _, second = _published(dataset_run, prepare(dataset_run))
    assert second.tokenizer_digest == first.tokenizer_digest


def test_a_given_tokenizer_that_is_missing_is_named(make_run, prepare, tmp_path) -> None:
    verdict = prepare(make_run(tokenizer=None, tokenizer_uri=f"file://{tmp_path}/none.json"))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.OBJECT_NOT_FOUND)
    assert "none.json" in verdict.message


@dataclass
class _Recording:
    """Runs tasks here, notes which ran, and dies before the task whose turn is `dies_at`."""

    dies_at: int | None = None
    ran: list[str] = field(default_factory=list)

    def run(self, task, items):
        for item in items:
            if len(self.ran) == self.dies_at:
                raise KeyboardInterrupt
            self.ran.append(f"{task.func.__name__} {getattr(item, 'number', item)}")
            yield task(item)


@pytest.fixture
def stages(tmp_path) -> list[PipelineStage]:
    """Two passes over records, and between and after them each stage that looks at all documents."""
    evaluation = tmp_path / "evaluation" / "questions.jsonl"
    evaluation.parent.mkdir()
    note = ENGLISH.format(n=7, m=49)
    evaluation.write_text(json.dumps({"text": f"Question: what is said? {note}"}) + "\n")
    return [
        PipelineStage(name="mend", repair_encoding=RepairEncoding()),
        PipelineStage(name="lengths", filter_length=FilterLength(max_characters=283)),
        PipelineStage(name="equal", deduplicate_exact=DeduplicateExact()),
        PipelineStage(name="normal", normalize_unicode=NormalizeUnicode(form="nfkc")),
        PipelineStage(
            name="alike", deduplicate_near=DeduplicateNear(threshold=0.9, ngram=3, permutations=32)
        ),
        PipelineStage(name="passages", deduplicate_substrings=DeduplicateSubstrings(min_words=30)),
        PipelineStage(name="noise", filter_tf_idf=FilterTfIdf()),
        PipelineStage(name="unseen", decontaminate=Decontaminate(uris=[f"file://{evaluation}"], ngram=19)),
    ]


def _report(store, manifest) -> PreparationReport:
    [file] = [file for file in manifest.report.files if file.key.endswith("report.json")]
    document = store.read(file.key)
    assert sha256_digest(document) == manifest.report.digest
    return PreparationReport.model_validate_json(document)


def test_the_report_accounts_for_every_document_at_every_stage(make_run, prepare, stages) -> None:
    dataset_run = make_run(pipeline=stages)
    verdict = prepare(dataset_run)
    store, manifest = _published(dataset_run, verdict)
    report = _report(store, manifest)
    assert verdict.report_digest == manifest.report.digest
    assert [stage.name for stage in report.stages] == [stage.name for stage in stages]
    assert report.stages[0].documents_in == report.records == manifest.documents_in == 180
    for stage, following in pairwise(report.stages):
        assert stage.documents_out == following.documents_in
    for stage in report.stages:
        assert stage.documents_in - stage.documents_out == sum(stage.dropped.values())
    splits = manifest.statistics.values()
    assert report.stages[-1].documents_out == report.documents == sum(each.documents for each in splits)
    assert sum(report.lengths) == report.documents
    assert report.languages == manifest.languages


def test_each_stage_drops_what_is_its_to_drop(make_run, prepare, stages) -> None:
    dataset_run = make_run(pipeline=stages)
    store, manifest = _published(dataset_run, prepare(dataset_run))
    dropped = {stage.name: stage for stage in _report(store, manifest).stages}
    assert set(dropped["lengths"].dropped) == {"characterCount"}
    assert dropped["equal"].dropped == {"duplicate": 20}
    assert dropped["unseen"].dropped == {"contaminated": 1}
    [sample] = dropped["unseen"].samples
    assert "It went down 7 times in 49 days." in sample.text


def test_the_page_shows_samples_as_text(make_run, prepare, raw) -> None:
    (raw / "notes" / "markup.txt").write_text("<script>alert(1)</script>" * 20)
    short = PipelineStage(name="short", filter_length=FilterLength(max_characters=400))
    dataset_run = make_run(pipeline=[short])
    store, manifest = _published(dataset_run, prepare(dataset_run))
    files = {file.key.rpartition("/")[2]: store.read(file.key) for file in manifest.report.files}
    assert b"&lt;script&gt;" in files["report.html"]
    assert b"<script>" not in files["report.html"]
    assert all(files[name].startswith(b"\x89PNG") for name in ("lengths.png", "languages.png"))


def test_a_pipeline_that_drops_everything_names_the_stage(make_run, prepare) -> None:
    long = PipelineStage(name="only-books", filter_length=FilterLength(min_characters=10**6))
    verdict = prepare(make_run(pipeline=[long]))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.EMPTY_DATASET)
    assert "'only-books'" in verdict.message


def test_a_region_without_phone_numbers_is_told_before_any_work(make_run) -> None:
    stage = PipelineStage(name="private", redact_pii=RedactPii(phone_regions=["US", "ZZ"]))
    verdict = _run(make_run(pipeline=[stage]), open_store, _Refusing(), lambda _: None)
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "spec.pipeline[0].redactPii.phoneRegions: 'ZZ'" in verdict.message


def test_an_evaluation_set_that_is_missing_is_told_before_any_work(make_run, tmp_path) -> None:
    missing = Decontaminate(uris=[f"file://{tmp_path}/none.jsonl"])
    dataset_run = make_run(pipeline=[PipelineStage(name="unseen", decontaminate=missing)])
    verdict = _run(dataset_run, open_store, _Refusing(), lambda _: None)
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.OBJECT_NOT_FOUND)
    assert "none.jsonl" in verdict.message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("questions.jsonl", b'{"question": "no field of the name"}\n'),
        ("questions.jsonl", b"not json\n"),
        ("questions.txt", b"caf\xe9"),
        ("questions.jsonl.gz", b"not gzip"),
    ],
)
def test_an_evaluation_set_that_cannot_be_used_costs_no_work(make_run, tmp_path, name, content) -> None:
    (tmp_path / name).write_bytes(content)
    stage = PipelineStage(name="unseen", decontaminate=Decontaminate(uris=[f"file://{tmp_path}/{name}"]))
    executor = _Recording()
    verdict = _run(make_run(pipeline=[stage]), open_store, executor, lambda _: None)
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert name in verdict.message
    assert executor.ran == ["collect_ngrams 0"]


def test_an_evaluation_set_that_changes_after_the_beginning_is_begun_again_with(make_run, tmp_path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("one")

    class Changing(_Recording):
        def run(self, task, items):
            questions.write_text("another one")
            return super().run(task, items)

    stage = PipelineStage(name="unseen", decontaminate=Decontaminate(uris=[f"file://{questions}"]))
    dataset_run = make_run(pipeline=[stage])
    verdict = _run(dataset_run, open_store, Changing(), lambda _: None)
    assert (verdict.outcome, verdict.reason) == ("Retry", "ObjectChanged")
    assert "questions.txt" in verdict.message
    assert _run(dataset_run, open_store, _Recording(), lambda _: None).outcome == "Succeeded"


def test_a_compressed_evaluation_set_is_compared_like_any(make_run, prepare, tmp_path) -> None:
    note = ENGLISH.format(n=7, m=49)
    (tmp_path / "questions.txt.gz").write_bytes(gzip.compress(note.encode()))
    uris = [f"file://{tmp_path}/questions.txt.gz"]
    stage = PipelineStage(name="unseen", decontaminate=Decontaminate(uris=uris, ngram=19))
    dataset_run = make_run(pipeline=[stage])
    store, manifest = _published(dataset_run, prepare(dataset_run))
    assert _report(store, manifest).stages[0].dropped == {"contaminated": 1}


def test_the_report_says_how_many_evaluation_items_were_too_short(make_run, prepare, tmp_path) -> None:
    questions = [ENGLISH.format(n=7, m=49), "It went down 7 times in 49 days.", "Who wrote Hamlet?"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in questions)
    (tmp_path / "questions.jsonl").write_text(lines)
    stage = PipelineStage(
        name="unseen", decontaminate=Decontaminate(uris=[f"file://{tmp_path}/questions.jsonl"])
    )
    dataset_run = make_run(pipeline=[stage])
    store, manifest = _published(dataset_run, prepare(dataset_run))
    assert _report(store, manifest).stages[0].evaluation_items == EvaluationItems(
        items=3, matched_whole=1, too_short=1
    )
    [page] = [file for file in manifest.report.files if file.key.endswith("report.html")]
    assert "of 3 items" in store.read(page.key).decode()


def test_another_pipeline_is_another_dataset(make_run, prepare, stages) -> None:
    prepare(make_run(pipeline=stages))
    verdict = prepare(make_run(pipeline=stages[:3]))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.DATASET_EXISTS)


def test_a_restart_repeats_no_finished_part_of_any_stage(make_run, tmp_path, stages) -> None:
    reference = _Recording()
    elsewhere = make_run(pipeline=stages, storage=Storage(uri=f"file://{tmp_path}/undisturbed"))
    expected = _run(elsewhere, open_store, reference, lambda _: None)
    for dies_at in range(0, len(reference.ran), 7):
        storage = Storage(uri=f"file://{tmp_path}/dies-at-{dies_at}")
        dataset_run = make_run(pipeline=stages, storage=storage)
        first, second = _Recording(dies_at), _Recording()
        with pytest.raises(KeyboardInterrupt):
            _run(dataset_run, open_store, first, lambda _: None)
        verdict = _run(dataset_run, open_store, second, lambda _: None)
        assert first.ran + second.ran == reference.ran
        assert verdict.digest == expected.digest


def test_stages_travel_to_other_processes(make_run, stages) -> None:
    assert _run(make_run(pipeline=stages), open_store, _Pickling(), lambda _: None).outcome == "Succeeded"


def test_a_restart_repeats_no_finished_part(make_run, tmp_path) -> None:
    reference = _Recording()
    elsewhere = make_run(storage=Storage(uri=f"file://{tmp_path}/undisturbed"))
    expected = _run(elsewhere, open_store, reference, lambda _: None)
    for dies_at in range(len(reference.ran)):
        dataset_run = make_run(storage=Storage(uri=f"file://{tmp_path}/dies-at-{dies_at}"))
        first, second = _Recording(dies_at), _Recording()
        with pytest.raises(KeyboardInterrupt):
            _run(dataset_run, open_store, first, lambda _: None)
        verdict = _run(dataset_run, open_store, second, lambda _: None)
        assert first.ran + second.ran == reference.ran
        assert verdict.digest == expected.digest


def test_two_that_prepare_the_same_end_with_the_same_dataset(make_run, prepare) -> None:
    """As after a partition: a second coordinator finishes and clears up while the first is in a stage."""
    digests = set()
    for overtaken_at in range(4):

        class Overtaken(LocalExecutor):
            stages = 0

            def run(self, task, items):
                if self.stages == overtaken_at:  # noqa: B023
                    digests.add(prepare(make_run()).digest)
                self.stages += 1
                yield from super().run(task, items)

        verdict = _run(make_run(), open_store, Overtaken(), lambda _: None)
        assert verdict.outcome == "Succeeded", verdict
        digests.add(verdict.digest)
        store = open_store(make_run().storage)
        store.delete([info.key for info in store.list("")])
    assert len(digests) == 1


class _Pickling:
    """Sends everything through pickle, as another process would get it."""

    def run(self, task, items):
        for item in items:
            yield pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(partial(task, item)))()))


def test_tasks_items_and_results_can_travel_to_other_processes(make_run) -> None:
    assert _run(make_run(), open_store, _Pickling(), lambda _: None).outcome == "Succeeded"


def test_progress_counts_the_parts_of_each_stage(make_run) -> None:
    reports = []
    _run(make_run(), open_store, LocalExecutor(), reports.append)
    assert [stage.name for stage in reports[0].stages] == ["read", "deduplicate", "tokenizer", "tokenize"]
    assert all(stage.done == stage.total > 0 for stage in reports[-1].stages)
    assert all(report.phase == "Preparing" for report in reports)


class _Unreachable:
    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, key, content):
        raise StoreUnavailable("file://x: no answer within 60 s: check the endpoint")


def test_an_unreachable_store_asks_for_another_try(make_run) -> None:
    verdict = _run(
        make_run(), lambda storage: _Unreachable(open_store(storage)), LocalExecutor(), lambda _: None
    )
    assert (verdict.outcome, verdict.exit_code) == ("Retry", ExitCode.TRY_AGAIN)
    assert verdict.reason == reasons.STORE_UNREACHABLE


def test_a_raw_object_that_changes_meanwhile_asks_for_another_try(make_run, raw) -> None:
    class ChangingExecutor(LocalExecutor):
        def run(self, task, items):
            (raw / "notes" / "000.txt").write_text("changed while it was planned")
            return super().run(task, items)

    verdict = _run(make_run(), open_store, ChangingExecutor(), lambda _: None)
    assert (verdict.outcome, verdict.reason) == ("Retry", "ObjectChanged")
    assert "000.txt" in verdict.message
