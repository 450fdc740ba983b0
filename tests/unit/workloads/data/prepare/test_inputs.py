"""Every format gives the same documents; what is broken is set aside with its reason."""

import gzip
import io
import json
import tarfile
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import IdentifyLanguage
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare import read_stage
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.html_input import decode_page, read_page
from deepseek_workloads.data.prepare.parquet_input import iter_rows
from deepseek_workloads.data.prepare.part_files import iter_documents
from deepseek_workloads.data.prepare.raw import list_raw, plan_parts
from deepseek_workloads.data.prepare.reading import lines_of_stream
from deepseek_workloads.data.prepare.records import RawSlice
from deepseek_workloads.data.prepare.rendering import check_templates
from deepseek_workloads.data.prepare.stages.language import identify_language
from deepseek_workloads.store.open import open_store

TEXTS = [f"Document {number}, in words: naïve 训练.\nIts second line." for number in range(25)]


def _jsonl() -> bytes:
    return b"".join(json.dumps({"text": text, "n": n}).encode() + b"\n" for n, text in enumerate(TEXTS))


def _parquet(**columns) -> bytes:
    content = io.BytesIO()
    table = pa.table(columns or {"text": TEXTS, "n": range(len(TEXTS)), "score": [0.5] * len(TEXTS)})
    pq.write_table(table, content, row_group_size=4)
    return content.getvalue()


def _tar(members) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, member in members:
            info = tarfile.TarInfo(name)
            info.size = len(member)
            archive.addfile(info, io.BytesIO(member))
    return content.getvalue()


def _samples():
    for number, text in enumerate(TEXTS):
        yield f"shard/{number:03d}.jpg", b"\xff\xd8 no text"
        yield f"shard/{number:03d}.json", json.dumps({"n": number}).encode()
        yield f"shard/{number:03d}.text", text.encode()


@pytest.fixture
def read(make_run, tmp_path):
    """(texts, records) of what lies in a folder, as one source."""

    def read(files, **settings):
        folder = tmp_path / "objects"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        source = RawSource(name="a", uri=f"file://{folder}", **settings)
        context = Context(run=make_run(raw_sources=[source]), attempt="attempt", open_store=open_store)
        parts = plan_parts(context.run, list_raw(context))
        records = [read_stage.read_part(context, part) for part in parts]
        with context.output() as store:
            texts = [each.text for record in records for _, each in iter_documents(store, record, [])]
        return texts, records

    return read


@pytest.mark.parametrize(
    ("name", "content", "file_format"),
    [
        ("a.jsonl", _jsonl(), "jsonl"),
        ("a.jsonl.gz", gzip.compress(_jsonl()), "jsonl"),
        ("two-members.jsonl.gz", gzip.compress(_jsonl()[:500]) + gzip.compress(_jsonl()[500:]), "jsonl"),
        ("a.jsonl.zst", zstandard.compress(_jsonl()), "jsonl"),
        (
            "two-frames.jsonl.zst",
            zstandard.compress(_jsonl()[:500]) + zstandard.compress(_jsonl()[500:]),
            "jsonl",
        ),
        ("a.parquet", _parquet(), "parquet"),
        ("a.tar", _tar(_samples()), "webdataset"),
        ("a.tar.gz", gzip.compress(_tar(_samples())), "webdataset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_format_gives_the_same_documents(read, name, content, file_format) -> None:
    texts, records = read({name: content}, format=file_format)
    assert texts == TEXTS
    assert sum(record.bad_records for record in records) == 0


@pytest.mark.parametrize(
    ("name", "content", "file_format"),
    [
        ("a.jsonl", _jsonl(), "jsonl"),
        ("a.parquet", _parquet(), "parquet"),
        ("a.tar", _tar(_samples()), "webdataset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_template_makes_the_text_of_the_fields_of_a_record(read, name, content, file_format) -> None:
    template = "{{ n }}:\n\n{{ text }}"
    texts, _ = read({name: content}, format=file_format, template=template)
    assert texts == [f"{number}:\n\n{text}" for number, text in enumerate(TEXTS)]


def test_a_record_without_a_field_of_the_template_is_a_bad_one(read) -> None:
    lines = b'{"question": "why?", "answer": "so"}\n{"question": "why?"}\n'
    texts, [record] = read({"a.jsonl": lines}, format="jsonl", template="{{ question }} {{ answer }}")
    assert texts == ["why? so"]
    assert record.bad_records == 1
    assert "'answer' is undefined" in record.bad_examples[0]


@pytest.mark.parametrize("template", ["{{ open", "{% for x in y %}"])
def test_what_is_no_template_is_told_before_any_work(make_run, template) -> None:
    source = RawSource(name="a", uri="s3://b/raw", format="jsonl", template=template)
    with pytest.raises(DatasetError, match=r"spec\.sources\[a\]\.template: line 1"):
        check_templates(make_run(raw_sources=[source]))


def test_a_template_reaches_nothing_but_the_record(read) -> None:
    template = "{{ text.__class__.__mro__ }}"
    texts, [record] = read({"a.jsonl": b'{"text": "x"}\n'}, format="jsonl", template=template)
    assert (texts, record.bad_records) == ([], 1)


@pytest.mark.parametrize(
    ("name", "content", "file_format", "reason"),
    [
        ("a.jsonl.gz", gzip.compress(_jsonl())[:-40], "jsonl", "cannot be decompressed"),
        ("a.jsonl.gz", b"not gzip at all", "jsonl", "cannot be decompressed"),
        ("a.jsonl.zst", b"not zstd at all", "jsonl", "cannot be decompressed"),
        ("a.txt.gz", b"not gzip at all", "text", "cannot be decompressed"),
        ("a.parquet", b"not parquet", "parquet", "not Parquet"),
        ("a.parquet", _parquet(body=TEXTS), "parquet", "no column 'text'; its columns are 'body'"),
        ("a.tar", b"not a tar" * 200, "webdataset", "not a tar"),
        ("a.tar", _tar([("1.text", b"\xff")]), "webdataset", "not text in UTF-8"),
        ("a.tar", _tar([("1.jpg", b"\xff")]), "webdataset", None),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_its_reason(read, name, content, file_format, reason) -> None:
    _, records = read({name: content}, format=file_format)
    if reason is None:
        assert sum(record.bad_records for record in records) == 0
        return
    [example] = [example for record in records for example in record.bad_examples]
    assert example.startswith("a.")
    assert reason in example


def test_what_was_read_before_the_damage_stays(read) -> None:
    damaged = gzip.compress(_jsonl()) + gzip.compress(_jsonl())[:40]
    texts, [record] = read({"a.jsonl.gz": damaged}, format="jsonl")
    assert (texts, record.bad_records) == (TEXTS, 1)


@pytest.mark.parametrize("nested", [False, True])
def test_columns_of_extension_types_are_refused(read, nested) -> None:
    array = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}']))
    column = pa.ListArray.from_arrays([0, 1], array) if nested else array
    _, [record] = read({"a.parquet": _parquet(text=column)}, format="parquet")
    assert "'text' is of an extension type" in record.bad_examples[0]


@pytest.mark.parametrize(
    ("key", "content", "kind"),
    [
        ("a.jsonl.gz", gzip.compress(_jsonl()), "jsonl"),
        ("a.txt.gz", gzip.compress(b"text " * 30, mtime=0), "text"),
        ("a.parquet", _parquet(), "parquet"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_more_text_than_a_task_holds_names_the_object(read, monkeypatch, key, content, kind) -> None:
    monkeypatch.setattr(read_stage, "MAX_PART_BYTES", 100)
    with pytest.raises(DatasetError, match=rf"spec\.sources\[a\]: {key}: more than 100 bytes of text"):
        read({key: content}, format=kind)


@given(st.lists(st.integers(1, 100_000), max_size=6))
def test_slices_of_parquet_give_each_row_once_wherever_they_are_cut(cuts) -> None:
    content = _parquet()
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    source = RawSource(name="a", uri="s3://b", format="parquet")
    rows = []
    for start, end in pairwise(bounds):
        piece = RawSlice(source=0, key="k", etag="e", size=len(content), start=start, end=end)
        rows += iter_rows(lambda a, b: content[a:b], piece=piece, source=source)
    assert rows == [(number, {"text": text}) for number, text in enumerate(TEXTS)]


@given(st.lists(st.sampled_from([b"", b"a", b"bc", b"\r"]), max_size=12), st.booleans(), st.integers(1, 9))
def test_a_stream_gives_its_lines_however_it_is_cut(lines, ends_with_newline, size) -> None:
    content = b"\n".join(lines) + (b"\n" if lines and ends_with_newline else b"")
    chunks = (content[at : at + size] for at in range(0, len(content), size))
    found = list(lines_of_stream(chunks))
    assert [line for _, line in found] == content.removesuffix(b"\n").split(b"\n")[: len(found)]
    assert b"".join(line + b"\n" for _, line in found).rstrip(b"\n") == content.rstrip(b"\n")
    assert all(content[offset : offset + len(line)] == line for offset, line in found)


PAGE = """<!doctype html><html lang="de-AT"><head><title>T</title><style>p { }</style></head><body>
<nav><a href="/">Home</a></nav><h1>A title</h1>
<p>One <b>bold</b>ly   written
paragraph.</p><script>alert(1)</script><ul><li>first<li>second</ul>
<pre>def f():
    return 1</pre><p hidden>not shown</p>last<br>line</body></html>"""


def test_a_page_becomes_its_text_a_line_a_block() -> None:
    assert read_page(PAGE).text.split("\n") == [
        "A title",
        "One boldly written paragraph.",
        "first",
        "second",
        "def f():",
        "    return 1",
        "last",
        "line",
    ]


@pytest.mark.parametrize(("keep", "kept"), [("zh", True), ("en", False)])
def test_the_language_of_a_page_is_told_by_its_text(keep, kept) -> None:
    """What <html lang> says comes with the template of a site, whoever writes there."""
    page = f'<html lang="en"><body><p>{"训练从最新的检查点继续，样本顺序相同。" * 3}</p></body></html>'
    outcome = identify_language(IdentifyLanguage(keep=[keep]))(read_page(page))
    assert isinstance(outcome, Document) == kept


def test_pages_may_be_nested_deeper_than_the_stack() -> None:
    depth = 3000
    assert read_page("<div>" * depth + "deep" + "</div>" * depth).text == "deep"


@given(st.text(max_size=300))
def test_every_text_is_a_page_of_some_kind(text) -> None:
    assert isinstance(read_page(f"<p>{text}</p>").text, str)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>naïve".encode(), "naïve"),
        ('<meta charset="iso-8859-1"><p>“naïve”'.encode("cp1252"), "“naïve”"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=gb2312"><p>训练'.encode("gb2312"),
            "训练",
        ),
        ("\ufeff<p>训练".encode("utf-16-le"), "训练"),
    ],
)
def test_a_page_is_decoded_as_it_says(content, text) -> None:
    assert read_page(decode_page(content)).text == text


def test_a_page_in_no_known_charset_is_a_bad_record(read) -> None:
    files = {"a.html": b'<meta charset="klingon"><p>x', "b.html": b"<p>caf\xe9"}
    _, [record] = read(files, format="html")
    assert record.bad_records == 2
    assert "charset 'klingon' is not known" in record.bad_examples[0]
    assert "not utf-8" in record.bad_examples[1]
