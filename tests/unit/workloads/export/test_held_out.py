"""The text that a model is measured on before it is served."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.export.held_out import MAX_TEXT_BYTES, from_document, held_out_texts, to_document

EOS = 0


def decode(ids: Sequence[int]) -> str:
    """Ids are code points here."""
    return "".join(map(chr, ids))


def ids_of(text: str) -> list[int]:
    return [EOS if character == "|" else ord(character) for character in text]


def test_documents_are_texts_of_their_own() -> None:
    windows = [ids_of("end of one|two|"), ids_of("three")]

    assert held_out_texts(windows, decode=decode, eos_token_id=EOS) == ["end of one", "two", "three"]


def test_characters_that_the_window_cut_are_left_out() -> None:
    assert held_out_texts([ids_of("�whole�")], decode=decode, eos_token_id=EOS) == ["whole"]


def test_every_window_has_the_same_share() -> None:
    texts = held_out_texts([ids_of("a" * 50_000), ids_of("内" * 50_000)], decode=decode, eos_token_id=EOS)

    assert [len(text.encode()) for text in texts] == [MAX_TEXT_BYTES // 2, MAX_TEXT_BYTES // 2 - 2]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_the_document_keeps_every_text(texts: list[str]) -> None:
    assert from_document(to_document(texts)) == texts
