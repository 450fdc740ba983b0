import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import Decontaminate
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare import evaluation_content
from deepseek_workloads.data.prepare.contamination import collect_ngrams
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.evaluation_items import (
    ItemHashes,
    KnownItems,
    known_among,
    sorted_hashes,
)
from deepseek_workloads.store.open import open_store

NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 8), max_size=12)


@given(NUMBERS, NUMBERS)
def test_known_hashes_are_found_wherever_they_are(hashes: list[int], known: list[int]) -> None:
    found = known_among(np.array(hashes, dtype=np.uint64), np.unique(np.array(known, dtype=np.uint64)))
    assert found.tolist() == [at for at, each in enumerate(hashes) if each in known]


def test_an_evaluation_set_that_grows_beyond_what_a_task_holds_is_refused(
    make_run, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(evaluation_content, "MAX_EVALUATION_BYTES", 100)
    (tmp_path / "questions.txt.gz").write_bytes(gzip.compress(b"again " * 100))
    settings = Decontaminate(uris=[f"file://{tmp_path}/questions.txt.gz"])
    context = Context(run=make_run(), attempt="a", open_store=open_store)
    with pytest.raises(DatasetError, match=r"questions.txt.gz: more than 100 bytes once decompressed: split"):
        collect_ngrams(context, "unseen_ngrams", settings, 0)


def _looked_for(*items: list[str], n: int = 13) -> tuple[KnownItems, ItemHashes]:
    hashes = ItemHashes(n)
    for item in items:
        hashes.add(item)
    parts = (sorted_hashes(each) for each in (hashes.ngrams, hashes.whole, hashes.beginnings))
    return KnownItems(n, *parts, lengths=sorted(hashes.lengths)), hashes


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (
            "What is the capital city of France and its river?",
            "Quiz: what is the capital city of France and its river",
        ),
        ("法国的首都是哪座城市？", "测验题：法国的首都是哪座城市，请回答。"),
        ("Who sings I will always love you", "who sings I will always love you"),
    ],
)
def test_an_item_of_fewer_words_than_an_ngram_is_found_as_a_whole(item, text) -> None:
    known, _ = _looked_for([item])
    assert known.first_in(text) is not None
    assert known.first_in(text.replace("is", "was").replace("首", "国").replace("will", "shall")) is None


@pytest.mark.parametrize("phrase", ["中国的首都是", "在这种情况下我们可以", "日本の首都は東京"])
def test_a_common_phrase_of_few_characters_is_no_item(phrase) -> None:
    """Of a script without spaces each character counts as a word."""
    known, hashes = _looked_for([phrase[:9]])
    assert known.first_in(f"众所周知，{phrase}北京。") is None
    assert (hashes.matched_whole, hashes.too_short) == (0, 1)


def test_a_few_characters_among_words_make_no_item_too_short() -> None:
    known, _ = _looked_for(["Which city is 北京 in English?"])
    assert known.first_in("Quiz: which city is 北京 in English?") is not None


def test_a_whole_item_is_found_on_borders_of_words() -> None:
    known, _ = _looked_for(["the sum of one and ten"])
    assert known.first_in("Is the sum of one and ten odd?") == "the sum of one and ten"
    assert known.first_in("the sum of one and tens") is None
    assert known.first_in("bathe sum of one and ten") is None


def test_a_short_question_is_looked_for_without_its_answer_too() -> None:
    known, hashes = _looked_for(["Which of these rivers flows through the capital of France today", "Seine"])
    assert (
        known.first_in("Which of these rivers flows through the capital of France today? Discuss.")
        is not None
    )
    assert known.first_in("Seine") is None
    assert (hashes.items, hashes.matched_whole, hashes.too_short) == (1, 1, 0)


def test_what_is_too_short_to_be_looked_for_is_counted() -> None:
    known, hashes = _looked_for(
        ["Who wrote Hamlet?"], ["谁写的"], ["one two three four five six"], ["a b " * 9]
    )
    assert known.first_in("Who wrote Hamlet? 谁写的") is None
    assert (hashes.items, hashes.matched_whole, hashes.too_short) == (4, 1, 2)


WORDS = st.lists(st.sampled_from("abc"), max_size=16)


@given(WORDS, WORDS, st.integers(2, 9))
def test_what_is_found_is_what_the_text_holds(item, text, n) -> None:
    known, hashes = _looked_for([" ".join(item)], n=n)
    joined = f" {' '.join(text)} "
    pieces = [item[at : at + n] for at in range(len(item) - n + 1)] or [item]
    holds = not hashes.too_short and any(f" {' '.join(piece)} " in joined for piece in pieces)
    assert (known.first_in(joined) is not None) == holds
