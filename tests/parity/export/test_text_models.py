"""Models of texts that a preparation names: held against the transformers library, and through a dataset."""

import json
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.layout import export_prefix
from deepseek_workloads.contract.pipeline import DeduplicateSemantic, FilterPerplexity, PipelineStage
from deepseek_workloads.contract.run_config import (
    DatasetRun,
    Owner,
    RawSource,
    Storage,
    TokenizerTraining,
    Workers,
)
from deepseek_workloads.contract.stage_model import StageModel
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.export.sentence_encoder import load_sentence_encoder
from deepseek_workloads.launch.text_models import TextModelsOnDemand
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.open import open_store

WORDS = [
    "the",
    "a",
    "job",
    "node",
    "loss",
    "worker",
    "waits",
    "stops",
    "reads",
    "because",
    "of",
    "tokens",
    "data",
]
WORDS += ["model", "falls", "writes"]
TEXTS = ["the job waits", "a worker reads tokens of the data because the model stops", "loss", "node " * 90]


@pytest.fixture
def bert(tmp_path):
    """A small random BERT with its tokenizer, of 40 positions."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
        initializer_range=0.5,
    )
    folder = tmp_path / "bert"
    BertModel(config).eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _pool(folder, **modes) -> None:
    modules = [{"type": "sentence_transformers.models.Transformer"}, {"type": "x.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32} | modes))


@torch.inference_mode()
def _by_transformers(folder, text: str, *, first_token: bool) -> np.ndarray:
    """A text by itself, without padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(40)
    ids = torch.tensor([tokenizer.encode(text).ids])
    states = BertModel.from_pretrained(folder).eval()(input_ids=ids).last_hidden_state[0]
    vector = states[0] if first_token else states.mean(dim=0)
    return (vector / vector.norm()).numpy()


@pytest.mark.parametrize(
    ("modes", "first_token"),
    [
        (None, False),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, False),
        ({"pooling_mode_cls_token": True, "include_prompt": True}, True),
        ({"pooling_mode": "cls"}, True),
    ],
    ids=["no pooling file", "mean", "cls", "cls, newer"],
)
def test_embeddings_are_those_of_each_text_by_itself(bert, modes, first_token) -> None:
    if modes is not None:
        _pool(bert, **modes)
    found = load_sentence_encoder(FileObjectStore(bert)).embed(TEXTS)
    expected = np.stack([_by_transformers(bert, text, first_token=first_token) for text in TEXTS])
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 64), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "of-nobody"}'), "cannot be read"),
        (lambda folder: _pool(folder, pooling_mode_max_tokens=True), r"pools by \['max'\]"),
        (lambda folder: (folder / "modules.json").write_text('[{"type": "x.Dense"}]'), "has Dense"),
    ],
)
def test_what_is_no_such_encoder_is_refused_in_words(bert, damage, words) -> None:
    damage(bert)
    with pytest.raises(DatasetError, match=words):
        load_sentence_encoder(FileObjectStore(bert))


def test_weights_are_read_from_safetensors_alone(bert) -> None:
    torch.save({"pickled": torch.ones(1)}, bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    with pytest.raises(DatasetError, match=r"has no model\.safetensors"):
        load_sentence_encoder(FileObjectStore(bert))


@pytest.fixture
def make_dataset_run(tmp_path):
    def make(texts, stage) -> DatasetRun:
        folder = tmp_path / "texts"
        folder.mkdir()
        (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        return DatasetRun(
            owner=Owner(namespace="research", name="docs", uid="uid-1"),
            raw_sources=[RawSource(name="texts", uri=folder.as_uri(), format="jsonl")],
            raw_storage=Storage(uri=folder.as_uri()),
            tokenizer=TokenizerTraining(vocab_size=300),
            pipeline=[stage],
            shard_tokens=1024,
            workers=Workers(num_nodes=1),
            storage=Storage(uri=f"{tmp_path.as_uri()}/out"),
        )

    return make


def _prepare(run: DatasetRun, **models):
    return prepare(run, open_store=open_store, executor=LocalExecutor(), report=lambda _: None, **models)


def _dropped(run: DatasetRun) -> dict[str, int]:
    store = open_store(run.storage)
    [key] = [info.key for info in store.list("") if info.key.endswith("report.json")]
    [stage] = json.loads(store.read(key))["stages"]
    return stage["dropped"]


def _semantic(folder) -> PipelineStage:
    settings = DeduplicateSemantic(model=StageModel(uri=folder.as_uri()), threshold=0.999)
    return PipelineStage(name="meaning", deduplicate_semantic=settings)


def test_a_transformer_finds_what_it_reads_alike(bert, make_dataset_run) -> None:
    texts = [f"{' '.join(WORDS[at : at + 5])} {WORDS[-at]}" for at in range(10)]
    run = make_dataset_run([*texts, *(text.upper() + " " for text in texts)], _semantic(bert))
    verdict = _prepare(run, text_models=TextModelsOnDemand())
    assert verdict.outcome == "Succeeded", verdict
    assert _dropped(run) == {"semanticDuplicate": 10}


def test_without_torch_a_transformer_is_refused_before_any_work(bert, make_dataset_run, tmp_path) -> None:
    verdict = _prepare(make_dataset_run(["the job waits"], _semantic(bert)))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "ray_prepare" in verdict.message
    assert not (tmp_path / "out/data").exists()


def _perplexity(uri: str, **settings) -> PipelineStage:
    stage = FilterPerplexity(model=StageModel(uri=uri), **settings)
    return PipelineStage(name="predicted", filter_perplexity=stage)


@torch.inference_mode()
def _by_logits(model, ids) -> float:
    """Nats of all tokens but the first."""
    logits = model(torch.tensor([ids]))[0].log_softmax(-1)
    return -float(sum(logits[at, token] for at, token in enumerate(ids[1:])))


def _folder_of(exported) -> FileObjectStore:
    return FileObjectStore(exported.root / export_prefix(exported.export.digest))


def test_perplexity_is_that_of_the_exports_own_logits(exported, model, tokenizer) -> None:
    scorer = TextModelsOnDemand().scorer(_folder_of(exported))
    text = "The worker reads 模型 and the loss falls."
    ids = [tokenizer.token_to_id("<|end_of_text|>"), *tokenizer.encode(text, add_special_tokens=False).ids]
    expected = math.exp(_by_logits(model.eval(), ids) / len(text))
    assert scorer.perplexity(text) == pytest.approx(expected, rel=1e-4)
    assert scorer.perplexity("") == math.inf


def test_what_a_model_predicts_badly_is_dropped_with_its_perplexity(exported, make_dataset_run) -> None:
    store = _folder_of(exported)
    scorer = TextModelsOnDemand().scorer(store)
    texts = [f"The worker {n} reads the loss, {n * 7} times." for n in range(12)]
    found = sorted(scorer.perplexity(text) for text in texts)
    limit = (found[7] + found[8]) / 2
    run = make_dataset_run(texts, _perplexity(store.uri, max_perplexity=limit))
    verdict = _prepare(run, text_models=TextModelsOnDemand())
    assert verdict.outcome == "Succeeded", verdict
    assert _dropped(run) == {"perplexity": 4}


def test_what_is_no_export_is_refused_before_any_work(make_dataset_run, tmp_path) -> None:
    run = make_dataset_run(["a text"], _perplexity(f"{tmp_path.as_uri()}/nowhere", max_perplexity=9))
    verdict = _prepare(run, text_models=TextModelsOnDemand())
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "filterPerplexity.model.uri" in verdict.message
    assert not (tmp_path / "out/data").exists()


@pytest.mark.parametrize("given", [{}, {"uris": ["s3://b/x"], "model": StageModel(uri="s3://b/m")}])
def test_a_reference_or_a_model_is_asked_for(given) -> None:
    with pytest.raises(ValueError, match="one of the two"):
        FilterPerplexity(max_perplexity=5, **given)
