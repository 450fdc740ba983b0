"""Copies with clauses in another order: by a real UDPipe model, trained here on a small treebank."""

import builtins
import json
import random

import pytest
from ufal import udpipe

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.augmentation import ReorderClauses
from deepseek_workloads.contract.pipeline import PipelineStage
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.contract.stage_model import StageModel
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare.clause_stage import with_copies
from deepseek_workloads.data.prepare.documents import Document, content_hash
from deepseek_workloads.data.prepare.parsing import load_parser
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.open import open_store

NOUNS, VERBS = ["dog", "worker", "node", "job", "loss"], ["stopped", "waited", "failed", "started", "slept"]
MARKS, ADVERBS = ["because", "when", "after", "while"], ["early", "again", "today", "slowly"]
Row = tuple[str, str, int, str]


def _sentence(chance: random.Random) -> list[Row]:
    """(form, part of speech, head, relation): the clause last, or first."""
    noun, other = chance.sample(NOUNS, 2)
    verb, happened = chance.sample(VERBS, 2)
    mark, adverb = chance.choice(MARKS), chance.choice(ADVERBS)
    if chance.random() < 0.6:
        main = [("The", "DET", 2, "det"), (noun, "NOUN", 3, "nsubj"), (verb, "VERB", 0, "root")]
        clause = [(mark, "SCONJ", 8, "mark"), ("the", "DET", 7, "det"), (other, "NOUN", 8, "nsubj")]
        end = [(happened, "VERB", 3, "advcl"), (".", "PUNCT", 3, "punct")]
        return [*main, (adverb, "ADV", 3, "advmod"), *clause, *end]
    clause = [(mark.capitalize(), "SCONJ", 4, "mark"), ("the", "DET", 3, "det"), (other, "NOUN", 4, "nsubj")]
    main = [("the", "DET", 7, "det"), (noun, "NOUN", 8, "nsubj"), (verb, "VERB", 0, "root")]
    middle = [(happened, "VERB", 8, "advcl"), (",", "PUNCT", 4, "punct")]
    return [*clause, *middle, *main, (adverb, "ADV", 8, "advmod"), (".", "PUNCT", 8, "punct")]


def _conllu(rows: list[Row]) -> str:
    lines = []
    for number, (form, part_of_speech, head, relation) in enumerate(rows, 1):
        joined = number < len(rows) and rows[number][1] == "PUNCT"
        space = "SpaceAfter=No" if joined else "_"
        columns = [number, form, form.lower(), part_of_speech, "_", "_", head, relation, "_", space]
        lines.append("\t".join(map(str, columns)))
    return "\n".join(lines) + "\n\n"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    chance = random.Random(0)
    reader = udpipe.InputFormat.newInputFormat("conllu")
    reader.setText("".join(_conllu(_sentence(chance)) for _ in range(40)))
    sentences, sentence, error = udpipe.Sentences(), udpipe.Sentence(), udpipe.ProcessingError()
    while reader.nextSentence(sentence, error):
        sentences.append(sentence)
        sentence = udpipe.Sentence()
    model = udpipe.Trainer.train(
        "morphodita_parsito",
        sentences,
        udpipe.Sentences(),
        "epochs=1;batch_size=10;dimension=16;early_stopping=0;dropout=0",
        "models=1;iterations=3;guesser_suffix_rules=4",
        "iterations=3;embedding_upostag=10;embedding_form=10;embedding_deprel=5;hidden_layer=30;single_root=1",
        error,
    )
    assert not error.occurred(), error.message
    folder = tmp_path_factory.mktemp("parser")
    (folder / "english.udpipe").write_bytes(model)
    return folder


@pytest.fixture
def parser(model_folder):
    return load_parser(FileObjectStore(model_folder), "english.udpipe")


def _settings(**changes) -> ReorderClauses:
    return ReorderClauses(**({"model": StageModel(uri="file:///english.udpipe"), "rate": 1} | changes))


TEXT = (
    "— 模型 —\n\nThe node stopped early  because the job failed. \n"
    "When the dog slept, the worker waited again.\n"
)


def test_all_but_the_sentences_stays_as_it_was(parser) -> None:
    original, copy = with_copies(parser, _settings(), Document(TEXT, "en"))
    assert original == Document(TEXT, "en")
    assert copy.text == (
        "— 模型 —\n\nBecause the job failed, the node stopped early. \n"
        "The worker waited again when the dog slept.\n"
    )
    assert copy.made_from == content_hash(TEXT.encode())[1]


def test_each_copy_has_a_choice_of_its_own_and_the_same_each_time(parser) -> None:
    text = "The node stopped early because the job failed.\n" * 12
    made = [with_copies(parser, _settings(rate=0.5, copies=4), Document(text)) for _ in range(2)]
    assert made[0] == made[1]
    assert len({each.text for each in made[0]}) == 5
    assert with_copies(parser, _settings(rate=0), Document(text)) == [Document(text)]


def test_copies_and_other_languages_get_no_copy(parser) -> None:
    made, german = Document(TEXT, "en", made_from=7), Document(TEXT, "de")
    assert with_copies(parser, _settings(), made) == [made]
    assert with_copies(parser, _settings(languages=["en"]), german) == [german]


@pytest.fixture
def make_reordering_run(make_run, model_folder, tmp_path):
    def make(model="english.udpipe"):
        folder = tmp_path / "texts"
        folder.mkdir()
        text = "The node {} stopped early because the job failed."
        (folder / "texts.jsonl").write_text(
            "\n".join(json.dumps({"text": text.format(n)}) for n in range(9))
            + "\n"
            + "\n".join(json.dumps({"text": f"Nothing to see here, {n}."}) for n in range(9))
        )
        stage = _settings(model=StageModel(uri=f"{model_folder.as_uri()}/{model}"))
        return make_run(
            raw_sources=[RawSource(name="texts", uri=folder.as_uri(), format="jsonl")],
            pipeline=[PipelineStage(name="order", reorder_clauses=stage)],
        )

    return make


def test_the_copies_of_a_dataset_are_marked(make_reordering_run, prepare) -> None:
    run = make_reordering_run()
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict
    manifest = load_manifest(open_store(run.storage), verdict.digest)
    assert manifest.augmented_documents == 9
    assert verdict.statistics["documents"] == 27


@pytest.mark.parametrize(
    ("model", "why"), [("german.udpipe", "there is no such object"), ("other.udpipe", "is no UDPipe 1 model")]
)
def test_without_a_model_it_is_refused_before_any_work(
    make_reordering_run, prepare, model_folder, tmp_path, model, why
) -> None:
    (model_folder / "other.udpipe").write_bytes(b"no model" * 100)
    verdict = prepare(make_reordering_run(model))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert f"{model}: {why}" in verdict.message
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_an_image_without_the_parser_refuses_and_says_how_to_get_it(
    make_reordering_run, prepare, monkeypatch
) -> None:
    imported = builtins.__import__

    def without_udpipe(name, *arguments, **options):
        if name.startswith("ufal"):
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_udpipe)
    verdict = prepare(make_reordering_run())
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "install 'ufal.udpipe" in verdict.message
