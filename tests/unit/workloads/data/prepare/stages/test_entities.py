import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import AnnotateEntities, EntityPhrases
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.entities import bio_tags
from deepseek_workloads.data.prepare.stages.registry import record_stage
from deepseek_workloads.data.prepare.stages.words import tokens_of

ENTITIES = [
    EntityPhrases(type="ORG", phrases=["Red Hat", "Hat"]),
    EntityPhrases(type="LOC", phrases=["New York", "北京"]),
]


def _annotated(text: str, **changes) -> str:
    return record_stage(AnnotateEntities(entities=ENTITIES, **changes))(Document(text)).text


def test_each_word_has_a_tag_and_each_line_its_end() -> None:
    assert _annotated("Red Hat, New York.\n\nA hat") == (
        "Red B-ORG\nHat I-ORG\n, O\nNew B-LOC\nYork I-LOC\n. O\n\nA O\nhat O"
    )


def test_capitals_count_unless_they_are_not_to() -> None:
    assert (
        _annotated("a hat in NEW york", case_sensitive=False) == "a O\nhat B-ORG\nin O\nNEW B-LOC\nyork I-LOC"
    )


def test_where_words_have_no_spaces_each_character_is_one() -> None:
    assert _annotated("在北京 ok") == "在 O\n北 B-LOC\n京 I-LOC\nok O"


@given(st.text())
def test_tokens_are_all_of_a_text_but_its_white_space(text: str) -> None:
    assert "".join(tokens_of(text)) == "".join(text.split())


PHRASES = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple), st.sampled_from("XY"), max_size=4
)


@given(st.lists(st.sampled_from("abcd"), max_size=12), PHRASES)
def test_tagged_runs_are_phrases_and_what_is_outside_begins_none(tokens, phrases) -> None:
    tags = bio_tags(tokens, phrases)
    assert len(tags) == len(tokens)
    for at, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = next((end for end in range(at + 1, len(tags)) if not tags[end].startswith("I-")), len(tags))
            assert phrases[tuple(tokens[at:end])] == tag[2:]
            assert set(tags[at + 1 : end]) <= {f"I-{tag[2:]}"}
        elif tag == "O":
            assert not any(tuple(tokens[at : at + length]) in phrases for length in (1, 2, 3))
        else:
            assert tags[at - 1][2:] == tag[2:]


@pytest.mark.parametrize(
    ("entities", "problem"),
    [
        ([{"type": "LOC", "phrases": ["Paris"]}, {"type": "PER", "phrases": ["Paris"]}], "'Paris'"),
        ([{"type": "LOC", "phrases": [" "]}], "phrases"),
        ([{"type": "two words", "phrases": ["Paris"]}], "type"),
    ],
)
def test_phrases_of_two_types_or_of_no_word_are_refused(entities, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        AnnotateEntities.model_validate({"entities": entities})
