"""Clauses that change places, by parses as Universal Dependencies has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.prepare.stages.clauses import Word, reordered

# A word a line: form, part of speech, head, relation. A form that begins with ~ follows without a space.
LATE = """
    She     PRON  2 nsubj
    waited  VERB  0 root
    because SCONJ 6 mark
    the     DET   5 det
    train   NOUN  6 nsubj
    failed  VERB  2 advcl
    ~.      PUNCT 2 punct"""
EARLY = """
    When    SCONJ 3 mark
    NASA    PROPN 3 nsubj
    called  VERB  6 advcl
    ~,      PUNCT 3 punct
    I       PRON  6 nsubj
    left    VERB  0 root
    ~!      PUNCT 6 punct"""


def parse(tree: str) -> tuple[str, list[Word]]:
    text, words = "", []
    for line in tree.strip().splitlines():
        form, part_of_speech, head, relation = line.split()
        text += "" if form.startswith("~") or not text else " "
        start, text = len(text), text + form.removeprefix("~")
        words.append(Word(start, len(text), int(head), relation, part_of_speech))
    return text, words


def _reordered(tree: str, language: str = "en") -> str | None:
    text, words = parse(tree)
    return reordered(text, words, language=language)


def test_a_clause_at_the_end_comes_to_the_front_and_one_at_the_front_to_the_end() -> None:
    assert _reordered(LATE) == "Because the train failed, she waited."
    assert _reordered(EARLY) == "I left when NASA called!"


def test_what_is_moved_back_is_the_sentence_again() -> None:
    back = """
        Because SCONJ 4 mark
        the     DET   3 det
        train   NOUN  4 nsubj
        failed  VERB  7 advcl
        ~,      PUNCT 4 punct
        she     PRON  7 nsubj
        waited  VERB  0 root
        ~.      PUNCT 7 punct"""
    assert _reordered(back) == parse(LATE)[0]


@pytest.mark.parametrize(
    ("first", "part_of_speech", "language", "continued"),
    [
        ("I", "PRON", "en", "I waited"),
        ("Ada", "PROPN", "en", "Ada waited"),
        ("GPUs", "NOUN", "en", "GPUs waited"),
        ("Hunde", "NOUN", "de", "Hunde waited"),
        ("Dogs", "NOUN", "en", "dogs waited"),
    ],
)
def test_capitals_stay_where_the_word_has_them_anywhere(first, part_of_speech, language, continued) -> None:
    tree = LATE.replace("She     PRON ", f"{first} {part_of_speech} ")
    assert _reordered(tree, language) == f"Because the train failed, {continued}."


def test_of_scripts_without_spaces_the_comma_is_their_own() -> None:
    tree = """
        因为 SCONJ 3 mark
        ~火车 NOUN 3 nsubj
        ~晚点 VERB 6 advcl
        ~， PUNCT 3 punct
        ~她 PRON 6 nsubj
        ~等待 VERB 0 root
        ~。 PUNCT 6 punct"""
    assert _reordered(tree, "zh") == "她等待，因为火车晚点。"


@pytest.mark.parametrize(
    "tree",
    [
        LATE.replace("advcl", "ccomp"),
        LATE.replace("mark", "obj"),  # no conjunction: "waited, hoping ..."
        LATE.replace("failed  VERB  2", "failed  VERB  1"),  # of another word than the main verb
        LATE.replace("waited  VERB  0 root", "“       PUNCT 0 root"),
        LATE.replace("the     DET   5 det", "(       PUNCT 5 punct"),
        "Go VERB 0 root\n~. PUNCT 1 punct",
    ],
    ids=["no clause", "no conjunction", "another head", "quotes", "brackets", "one word"],
)
def test_other_sentences_stay(tree) -> None:
    assert _reordered(tree) is None


RELATIONS = st.sampled_from(["advcl", "mark", "nsubj", "root", "punct", "advmod"])
TREES = st.lists(
    st.tuples(st.sampled_from(["a", "Bc", ",", ".", "“"]), st.integers(0, 7), RELATIONS),
    min_size=1,
    max_size=7,
)


@given(TREES)
def test_any_parse_is_taken_and_no_word_is_lost(tree) -> None:
    lines = [f"{form} {'PUNCT' if form in ',.“' else 'NOUN'} {head} {what}" for form, head, what in tree]
    text, words = parse("\n".join(lines))
    found = reordered(text, words, language="")
    if found is not None:
        assert sorted(found.lower().replace(",", " ").replace(".", " ").split()) == sorted(
            text.lower().replace(",", " ").replace(".", " ").split()
        )
