import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.augmentation import ReplaceSynonyms, Synonyms
from deepseek_workloads.data.prepare.documents import Document, content_hash
from deepseek_workloads.data.prepare.stages.registry import record_stage
from deepseek_workloads.data.prepare.stages.synonyms import written_like

LEXICON = [Synonyms(word="big", synonyms=["large", "huge"]), Synonyms(word="Fast", synonyms=["quick"])]
TEXTS = st.lists(st.sampled_from(["big", "fast", "Big", "dog", "bigger", ",", "\n"]), max_size=12).map(
    " ".join
)


def _copies(text: str, **changes) -> list[Document]:
    original, *copies = record_stage(ReplaceSynonyms(lexicon=LEXICON, **changes))(Document(text, "en"))
    assert original == Document(text, "en")
    return copies


@given(TEXTS, st.integers(0, 3))
def test_at_rate_one_each_word_of_the_lexicon_goes_and_nothing_else(text: str, seed: int) -> None:
    for copy in _copies(text, rate=1, seed=seed, copies=2):
        pairs = zip(text.split(" "), copy.text.split(" "), strict=True)
        for word, other in pairs:
            allowed = {"big": {"large", "huge"}, "Big": {"Large", "Huge"}, "fast": {"quick"}}
            assert other in allowed.get(word, {word})


@given(TEXTS, st.integers(0, 3), st.floats(0, 1))
def test_copies_are_marked_differ_from_their_original_and_are_always_the_same(text, seed, rate) -> None:
    copies = _copies(text, rate=rate, seed=seed, copies=3)
    low = content_hash(text.encode())[1]
    assert all((copy.made_from, copy.language) == (low, "en") for copy in copies)
    assert len({text, *(copy.text for copy in copies)}) == 1 + len(copies)
    assert copies == _copies(text, rate=rate, seed=seed, copies=3)


def test_the_rate_is_the_share_of_the_words_that_are_replaced() -> None:
    [copy] = _copies("fast " * 4000, rate=0.25)
    assert 850 < copy.text.count("quick") < 1150


def test_without_a_word_of_the_lexicon_there_is_no_copy() -> None:
    assert _copies("a dog", rate=1) == []


@pytest.mark.parametrize(
    ("word", "expected"), [("big", "large"), ("Big", "Large"), ("BIG", "LARGE"), ("I", "Large")]
)
def test_capitals_are_kept(word: str, expected: str) -> None:
    assert written_like(word, "large") == expected


def test_a_word_with_two_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="'big': is named more than once"):
        ReplaceSynonyms(lexicon=[LEXICON[0], Synonyms(word="BIG", synonyms=["vast"])])


@pytest.mark.parametrize("word", ["", "two words", "-"])
def test_what_is_no_word_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="word"):
        Synonyms(word=word, synonyms=["any"])
