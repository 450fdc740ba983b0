import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.prepare import reading
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.reading import BadRecord, decode_record, decode_text, iter_lines

PAGES = RawSource(name="pages", uri="s3://bucket/pages", format="jsonl", text_field="body")
LINES = st.lists(st.sampled_from([b"", b"a", b"bc", b"\r", b"long line"]), max_size=12)


@given(LINES, st.booleans(), st.lists(st.integers(0, 200), max_size=4), st.integers(1, 9))
def test_slices_give_each_line_once_wherever_they_are_cut(lines, ends_with_newline, cuts, piece) -> None:
    content = b"\n".join(lines) + (b"\n" if ends_with_newline else b"")
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    patch = pytest.MonkeyPatch()
    patch.setattr(reading, "PIECE_BYTES", piece)
    patch.setattr(reading, "REST_BYTES", max(1, piece // 2))
    seen = []
    for start, end in pairwise(bounds):
        seen += iter_lines(lambda a, b: content[a:b], start=start, end=end, size=len(content))
    patch.undo()
    expected, offset = [], 0
    for line in content.splitlines(keepends=True) if b"\r" not in content else _split(content):
        expected.append((offset, line.removesuffix(b"\n")))
        offset += len(line)
    assert seen == expected


def _split(content: bytes) -> list[bytes]:
    *whole, rest = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def test_beyond_its_end_a_slice_reads_only_the_rest_of_a_line() -> None:
    content = b"first\n" + b"x" * 3_000_000 + b"\nlast\n"
    asked = []

    def read(start, end):
        asked.append((start, end))
        return content[start:end]

    lines = list(iter_lines(read, start=0, end=100, size=len(content)))
    assert [len(line) for _, line in lines] == [5, 3_000_000]
    assert asked[-1][1] <= 3_000_007 + reading.REST_BYTES


@given(st.lists(st.integers(0, 30), max_size=8), st.lists(st.integers(0, 200), max_size=4), st.integers(1, 9))
def test_a_line_that_is_too_long_is_told_once_and_hides_no_other(lengths, cuts, piece) -> None:
    lines = [bytes([97 + at]) * length for at, length in enumerate(lengths)]
    content = b"\n".join(lines)
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    patch = pytest.MonkeyPatch()
    for name, value in {"PIECE_BYTES": piece, "REST_BYTES": piece, "MAX_RECORD_BYTES": 10}.items():
        patch.setattr(reading, name, value)
    seen = []
    for start, end in pairwise(bounds):
        seen += iter_lines(lambda a, b: content[a:b], start=start, end=end, size=len(content))
    patch.undo()
    given_whole = [line for _, line in seen if isinstance(line, bytes)]
    too_long = [line for _, line in seen if isinstance(line, reading.LongLine)]
    assert [line for line in given_whole if line] == [line for line in lines if 0 < len(line) <= 10]
    assert [line.beginning[:1] for line in too_long] == [line[:1] for line in lines if len(line) > 10]
    assert all(line.size > 10 for line in too_long)


def test_an_object_without_line_ends_is_neither_held_nor_read_again_by_every_slice(monkeypatch) -> None:
    """A gigabyte, of which a slice is a megabyte."""
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 4 * 2**20)
    asked, size = [], 2**30

    def read(start, end):
        asked.append(end - start)
        return b"x" * (end - start)

    slices = [(0, 2**20), (2**20, 2 * 2**20), (9 * 2**20, 10 * 2**20)]
    seen = [line for start, end in slices for _, line in iter_lines(read, start=start, end=end, size=size)]

    assert [len(line.beginning) for line in seen] == [reading.QUARANTINED_BYTES]
    assert sum(asked) < 8 * 2**20


@pytest.mark.parametrize(
    ("content", "text"),
    [("naïve 训练".encode(), "naïve 训练"), (b"\xef\xbb\xbfwith a mark", "with a mark"), (b"", "")],
)
def test_text_is_strict_utf8_without_its_byte_order_mark(content, text) -> None:
    assert decode_text(content, key="a.txt") == Document(text)


def test_other_encodings_are_not_guessed() -> None:
    bad = decode_text("caf\xe9".encode("latin-1"), key="a.txt")
    assert str(bad) == "a.txt at byte 0: not UTF-8: byte 0xe9 at 3"


def test_a_record_gives_its_text_and_language() -> None:
    line = b'{"body": "hello", "language": "en"}\r'
    assert decode_record(line, source=PAGES, key="p", offset=9) == Document("hello", "en")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"body": "a"', "not JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        (b'["body"]', "a JSON object is needed, this is a list"),
        (b'{"text": "a"}', "field 'body' must be a string, it is missing"),
        (b'{"body": 3}', "field 'body' must be a string, it is a int"),
        (b'{"body": "\\ud800"}', "the text holds half of a surrogate pair"),
        (b'{"body": "\xff"}', "not UTF-8: byte 0xff at 10"),
        (b"[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_bad_record_is_named_and_kept(line, reason) -> None:
    bad = decode_record(line, source=PAGES, key="p.jsonl", offset=7)
    assert isinstance(bad, BadRecord)
    assert str(bad).startswith(f"p.jsonl at byte 7: {reason}")
    quarantined = json.loads(bad.to_json())
    assert base64.b64decode(quarantined["contentBase64"]) == line[: reading.QUARANTINED_BYTES]
    assert quarantined["size"] == len(line)
