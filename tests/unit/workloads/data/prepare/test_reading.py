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
