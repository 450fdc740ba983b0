"""Semantic duplicates: embeddings, clusters, and what of those that mean the same stays."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.pipeline import DeduplicateSemantic, PipelineStage
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare import semantic_pairs, semantic_vectors
from deepseek_workloads.data.prepare.embedding import load_embedding_model
from deepseek_workloads.data.prepare.near_components import connected_components
from deepseek_workloads.data.prepare.semantic_pairs import alike
from deepseek_workloads.data.prepare.semantic_vectors import nearest_centroids, spherical_k_means
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.open import open_store

# Two ways to say each of these mean nearly the same; the others mean something else.
MEANINGS = [["car", "automobile"], ["fast", "quick"], ["dog", "hound"], ["house", "home"], ["sea", "ocean"]]
WORDS = [word for pair in MEANINGS for word in pair]


@pytest.fixture
def model_folder(tmp_path):
    """A static model in which the words of a pair have nearly the same vector."""
    generator = np.random.default_rng(0)
    vectors = np.concatenate(
        [
            generator.normal(size=(1, 32)),  # of the unknown word
            *(vector + 0.01 * generator.normal(size=(2, 32)) for vector in generator.normal(size=(5, 32))),
        ]
    ).astype(np.float32)
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({"embeddings": vectors}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": True}))
    return folder


def _load(folder):
    return load_embedding_model(FileObjectStore(folder))


@pytest.mark.parametrize("variant", ["plain", "weights", "mapping"])
def test_embeddings_are_those_of_the_library_that_writes_the_format(model_folder, variant) -> None:
    from model2vec import StaticModel

    tokens = len(WORDS) + 1
    tensors = {"embeddings": np.random.default_rng(1).normal(size=(tokens, 8)).astype(np.float32)}
    if variant != "plain":
        tensors["weights"] = np.linspace(0.5, 2, tokens).astype(np.float32)
    if variant == "mapping":
        tensors["embeddings"] = tensors["embeddings"][:4].copy()
        tensors["mapping"] = (np.arange(tokens) % 4).astype(np.int64)
    save_file(tensors, model_folder / "model.safetensors")
    texts = ["car quick dog", "home", "sea sea strange ocean", " ".join(WORDS * 80)]
    expected = StaticModel.from_pretrained(model_folder).encode(texts, normalize=True)
    assert np.allclose(_load(model_folder).embed(texts), expected, atol=1e-6)


def test_a_text_without_a_known_word_has_no_direction(model_folder) -> None:
    assert not _load(model_folder).embed(["strange words", ""]).any()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "cannot be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be read"),
        (
            lambda folder: save_file({"weight": np.ones((3, 3))}, folder / "model.safetensors"),
            "has no tensor",
        ),
        (
            lambda folder: save_file({"embeddings": np.ones((3, 3))}, folder / "model.safetensors"),
            "3 vectors, but tokenizer.json has 11 tokens",
        ),
    ],
)
def test_what_is_no_such_model_is_refused_in_words(model_folder, damage, words) -> None:
    damage(model_folder)
    with pytest.raises(DatasetError, match=words) as refused:
        _load(model_folder)
    assert "Model2Vec" in str(refused.value)


VECTORS = st.integers(1, 40).flatmap(
    lambda rows: st.lists(
        st.lists(st.integers(-3, 3), min_size=3, max_size=3).filter(any), min_size=rows, max_size=rows
    )
)


@given(VECTORS, st.sampled_from([0.5, 0.8, 0.95]))
def test_what_is_alike_is_connected_whatever_the_blocks(rows, threshold) -> None:
    vectors = np.array(rows, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    products = vectors @ vectors.T
    pairs = [(a, b) for a, b in combinations(range(len(rows)), 2) if products[a, b] >= threshold]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    expected = connected_components(len(rows), first, second).tolist()
    before, semantic_pairs.BLOCK = semantic_pairs.BLOCK, 7
    try:
        assert alike(vectors, threshold=threshold).tolist() == expected
    finally:
        semantic_pairs.BLOCK = before


def test_clusters_are_found_and_are_the_same_again() -> None:
    generator = np.random.default_rng(2)
    middles = np.eye(4, 16, dtype=np.float32)
    vectors = np.repeat(middles, 50, axis=0) + 0.05 * generator.normal(size=(200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids = spherical_k_means(vectors, clusters=8)
    assert np.array_equal(centroids, spherical_k_means(vectors, clusters=8))
    nearest = nearest_centroids(vectors, centroids)
    by_middle = [set(nearest[at : at + 50].tolist()) for at in range(0, 200, 50)]
    assert all(one.isdisjoint(other) for one, other in combinations(by_middle, 2))


def test_of_no_vectors_there_is_one_empty_cluster() -> None:
    none = np.empty((0, 4), dtype=np.float32)
    assert spherical_k_means(none, clusters=3).shape == (1, 4)


@pytest.fixture
def make_semantic_run(make_run, tmp_path, model_folder):
    """300 texts of three meanings each, and of each a longer one that says the same in other words."""
    generator = np.random.default_rng(3)
    folder = tmp_path / "pages"
    folder.mkdir()
    lines = []
    for number in range(300):
        chosen = [MEANINGS[at] for at in sorted(generator.choice(5, size=3, replace=False).tolist())]
        counts = generator.integers(1, 9, size=3).tolist()
        for way in (0, 1):
            words = [pair[way] for pair, count in zip(chosen, counts, strict=True) for _ in range(count)]
            lines.append(json.dumps({"text": " ".join([*words, f"page{number}", *["and"] * way])}))
    (folder / "pages.jsonl").write_text("\n".join(lines))

    def make(uri=None, **changes):
        settings = DeduplicateSemantic(model={"uri": uri or model_folder.as_uri()}, threshold=0.99)
        return make_run(
            raw_sources=[RawSource(name="pages", uri=folder.as_uri(), format="jsonl")],
            pipeline=[PipelineStage(name="meaning", deduplicate_semantic=settings)],
            **changes,
        )

    return make


def test_of_texts_that_mean_the_same_the_longest_stays(make_semantic_run, prepare, monkeypatch) -> None:
    monkeypatch.setattr(semantic_vectors, "CLUSTER_AIM", 150)  # 4 clusters
    run = make_semantic_run()
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict
    store = open_store(run.storage)
    [key] = [info.key for info in store.list("") if info.key.endswith("report.json")]
    [stage] = json.loads(store.read(key))["stages"]
    assert stage["documentsIn"] == 600
    assert stage["dropped"]["semanticDuplicate"] >= 300  # one of each two, and what means the same besides
    assert {sample["reason"] for sample in stage["samples"]} == {"semanticDuplicate"}


def test_without_a_model_there_nothing_is_begun(make_semantic_run, prepare, tmp_path) -> None:
    verdict = prepare(make_semantic_run(uri=(tmp_path / "nowhere").as_uri()))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "deduplicateSemantic.model.uri" in verdict.message
    assert not (tmp_path / "out/data").exists()
