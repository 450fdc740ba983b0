"""Which pages of which packages make the corpus, and what objects they become. Pure.

A collection becomes JSON lines ({"id", "text", "language"}), many documents an object, or one text file each.
"""

import fnmatch
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from deepseek_demo.corpus.html_text import page_text

_SHORTEST_CHARACTERS = 200  # shorter pages are tables of contents and redirects
_JSONL_OBJECT_BYTES = 2_000_000


@dataclass(frozen=True)
class Collection:
    """HTML pages of a package below `directory`, in one language, and the prefix of their objects."""

    package: str
    directory: str
    language: str
    prefix: str
    format: Literal["jsonl", "text"]
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """`id` names the package and the page; `text` is what is left without markup."""

    id: str
    text: str
    language: str


_HANDBOOK = "usr/share/doc/debian-handbook/html"
COLLECTIONS: Sequence[Collection] = (
    Collection(
        "python3.11-doc",
        "usr/share/doc/python3.11/html",
        "en",
        "python-docs/",
        "jsonl",
        exclude=("_*", "genindex*", "contents.html", "search.html", "whatsnew/changelog.html"),
    ),
    Collection("libreoffice-help-zh-cn", "usr/share/libreoffice/help/zh-CN", "zh", "office-help/", "jsonl"),
    Collection("debian-handbook", f"{_HANDBOOK}/en-US", "en", "handbooks/en/", "text"),
    Collection("debian-handbook", f"{_HANDBOOK}/zh-CN", "zh", "handbooks/zh/", "text"),
    Collection(
        "debian-reference-zh-cn", "usr/share/debian-reference", "zh", "handbooks/zh/reference-", "text"
    ),
)


def documents(collection: Collection, files: Iterable[tuple[str, bytes]]) -> Iterator[Document]:
    """The pages among `files` (path below /, content) that belong to the collection, in the files' order."""
    start = collection.directory + "/"
    for path, content in files:
        page = path.removeprefix(start)
        if not path.startswith(start) or not page.endswith(".html"):
            continue
        if any(fnmatch.fnmatchcase(page, pattern) for pattern in collection.exclude):
            continue
        text = page_text(content.decode("utf-8", errors="replace"))
        if len(text) >= _SHORTEST_CHARACTERS:
            yield Document(f"{collection.package}/{page.removesuffix('.html')}", text, collection.language)


def objects(collection: Collection, found: Iterable[Document]) -> Iterator[tuple[str, bytes]]:
    """(key, content) of the objects that hold the documents."""
    if collection.format == "text":
        for document in found:
            page = document.id.partition("/")[2].replace("/", "-")
            yield f"{collection.prefix}{page}.txt", document.text.encode() + b"\n"
    else:
        for number, lines in enumerate(_batches(found)):
            yield f"{collection.prefix}{number:05d}.jsonl", lines


def _batches(found: Iterable[Document]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for document in found:
        record = {"id": document.id, "text": document.text, "language": document.language}
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        if batch and size + len(line) > _JSONL_OBJECT_BYTES:
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield b"".join(batch)
