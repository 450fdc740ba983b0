"""A model of characters, and which documents it finds unlike its reference."""

import json
import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.pipeline import FilterPerplexity, PipelineStage
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.prepare.ngram_model import pack, train_ngram_model, unpack
from deepseek_workloads.store.open import open_store

PROSE = "The operator of job {n} watches its loss of {m} and says so to all who ask in words. "
TEXTS = st.lists(st.text("ab c", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=4)


def _by_definition(texts, text, *, order) -> float:
    """Interpolated Witten-Bell, a character at a time."""
    trained, asked = ("".join(" ".join(each.split()) + " " for each in group) for group in (texts, [text]))
    following: dict[str, Counter[str]] = defaultdict(Counter)
    for length in range(order):
        for at in range(len(trained) - length):
            following[trained[at : at + length]][trained[at + length]] += 1
    characters = len(following[""])

    def probability(context, character) -> float:
        seen = following.get(context)
        lower = probability(context[1:], character) if context else 1 / (characters + 1)
        if seen is None:
            return lower
        return (seen[character] + len(seen) * lower) / (seen.total() + len(seen))

    logs = [math.log(probability(asked[max(0, at - order + 1) : at], asked[at])) for at in range(len(asked))]
    return math.exp(-sum(logs) / len(logs))


@given(TEXTS, st.text("abcd ", min_size=1, max_size=20).filter(str.strip), st.integers(1, 4))
def test_perplexity_is_that_of_the_definition(texts, text, order) -> None:
    model = train_ngram_model(texts, order=order)
    assert model.perplexity(text) == pytest.approx(_by_definition(texts, text, order=order))


def test_what_is_stored_is_the_same_model() -> None:
    model = train_ngram_model([PROSE.format(n=1, m=2), "任务完成了"], order=4)
    again = unpack(pack(model))
    for text in ("The job says so", "任务", "zzz"):
        assert again.perplexity(text) == model.perplexity(text)


def test_the_reference_is_less_perplexing_than_other_text_and_noise_most() -> None:
    model = train_ngram_model([PROSE.format(n=n, m=n * 7) for n in range(200)], order=5)
    letters = random.Random(0)
    noise = "".join(letters.choices("bcdfghjklmnpq ", k=200))
    like, other = PROSE.format(n=999, m=1), "Who would ask the job of its words, and say all?"
    assert model.perplexity(like) < model.perplexity(other) < model.perplexity(noise)


@pytest.fixture
def make_filtered_run(make_run, tmp_path):
    """80 sentences like the reference, 20 of random letters."""
    (tmp_path / "prose.txt").write_text("\n".join(PROSE.format(n=n, m=n * 3) for n in range(500)))
    letters = random.Random(1)
    noise = ["".join(letters.choices("bcdfghjklmnpq ", k=90)) for _ in range(20)]
    folder = tmp_path / "pages"
    folder.mkdir()
    lines = [json.dumps({"text": text}) for text in [*(PROSE.format(n=n, m=n) for n in range(80)), *noise]]
    (folder / "pages.jsonl").write_text("\n".join(lines))

    def make(reference="prose.txt", **settings):
        stage = FilterPerplexity(uris=[f"{tmp_path.as_uri()}/{reference}"], max_perplexity=6, **settings)
        return make_run(
            raw_sources=[RawSource(name="pages", uri=folder.as_uri(), format="jsonl")],
            pipeline=[PipelineStage(name="like", filter_perplexity=stage)],
        )

    return make


def test_noise_is_dropped_with_its_perplexity(make_filtered_run, prepare) -> None:
    run = make_filtered_run()
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict
    store = open_store(run.storage)
    [key] = [info.key for info in store.list("") if info.key.endswith("report.json")]
    [stage] = json.loads(store.read(key))["stages"]
    assert (stage["documentsIn"], stage["dropped"]) == (100, {"perplexity": 20})
    assert all(float(sample["detail"]) > 6 for sample in stage["samples"])


def test_a_reference_without_text_is_refused_before_any_work(make_filtered_run, prepare, tmp_path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    verdict = prepare(make_filtered_run("empty.txt"))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "filterPerplexity.uris" in verdict.message
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_limits_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"minPerplexity .* is more than maxPerplexity"):
        FilterPerplexity(uris=["s3://b/x"], min_perplexity=9, max_perplexity=5)
