"""Pages of a package become documents, documents become objects; the same input gives the same bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_demo.corpus.sources import COLLECTIONS, Collection, Document, documents, objects

LONG = "word " * 60
JSONL = Collection("pkg", "usr/share/doc", "en", "docs/", "jsonl", exclude=("genindex*",))
TEXT = Collection("pkg", "usr/share/doc", "zh", "books/zh/", "text")


def page(text: str) -> bytes:
    return f"<html><body><p>{text}</p></body></html>".encode()


def test_only_the_collections_pages_are_taken() -> None:
    files = [
        ("usr/share/doc/a/page.html", page(LONG)),
        ("usr/share/doc/genindex-a.html", page(LONG)),
        ("usr/share/doc/short.html", page("redirect")),
        ("usr/share/doc/style.css", LONG.encode()),
        ("usr/share/other/page.html", page(LONG)),
    ]
    assert [document.id for document in documents(JSONL, files)] == ["pkg/a/page"]


def test_a_jsonl_record_has_id_text_and_language() -> None:
    [(key, content)] = objects(JSONL, [Document("pkg/a", "中文", "zh")])
    assert key == "docs/00000.jsonl"
    assert json.loads(content) == {"id": "pkg/a", "text": "中文", "language": "zh"}


def test_a_text_object_is_named_after_its_page() -> None:
    [(key, content)] = objects(TEXT, [Document("pkg/part/chapter", "一", "zh")])
    assert (key, content.decode()) == ("books/zh/part-chapter.txt", "一\n")


@given(st.lists(st.integers(min_value=0, max_value=3_000_000), max_size=6))
def test_jsonl_objects_hold_every_document_in_order_and_stay_small(sizes: list[int]) -> None:
    found = [Document(f"pkg/{number}", "x" * size, "en") for number, size in enumerate(sizes)]
    made = list(objects(JSONL, found))
    lines = [line for _, content in made for line in content.splitlines(keepends=True)]
    assert [json.loads(line)["id"] for line in lines] == [document.id for document in found]
    for _, content in made:
        assert len(content) <= 2_000_000 or content.count(b"\n") == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_corpus_has_both_languages_and_both_formats(language: str) -> None:
    formats = {collection.format for collection in COLLECTIONS if collection.language == language}
    assert formats == {"jsonl", "text"}
