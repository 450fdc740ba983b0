"""Raw bytes to documents, strictly: what is not valid text or JSON is set aside and counted, never guessed.

It knows formats, not stores: `read` is any function from (start, end) to bytes.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.chat import read_messages, to_document
from deepseek_workloads.data.prepare import html_input
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.html_input import read_page
from deepseek_workloads.data.prepare.rendering import as_record, language_of, text_of

ReadBytes = Callable[[int, int], bytes]
ToText = Callable[[dict[str, Any], RawSource], str]  # raises ValueError
PIECE_BYTES = 8 * 1024 * 1024
REST_BYTES = 256 * 1024
MAX_RECORD_BYTES = 64 * 1024 * 1024  # of a line or a text object: a task holds several copies of it
QUARANTINED_BYTES = 64 * 1024  # of a bad record, so that a quarantine is never larger than its data
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BadRecord:
    key: str
    offset: int  # bytes into the object, once decompressed; of Parquet the row
    reason: str
    content: bytes
    size: int | None = None  # bytes, where `content` is not all of it

    def __str__(self) -> str:
        return f"{self.key} at byte {self.offset}: {self.reason}"

    def to_json(self) -> bytes:
        document = {
            "key": self.key,
            "offset": self.offset,
            "size": len(self.content) if self.size is None else self.size,
            "reason": self.reason,
            "contentBase64": base64.b64encode(self.content[:QUARANTINED_BYTES]).decode(),
        }
        return json.dumps(document, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class LongLine:
    """One of more than MAX_RECORD_BYTES, which is never in memory as a whole."""

    beginning: bytes  # at most QUARANTINED_BYTES
    size: int  # bytes that were read of it; there may be more


def too_large(beginning: bytes, *, size: int, key: str, offset: int) -> BadRecord:
    reason = f"larger than {MAX_RECORD_BYTES} bytes, the limit of one record: cut it into documents"
    return BadRecord(key, offset, reason, beginning, size)


def decode_text(content: bytes, *, key: str) -> Document | BadRecord:
    """One object, one document."""
    try:
        return Document(content.removeprefix(_BOM).decode())
    except UnicodeDecodeError as error:
        return BadRecord(key, 0, _not_utf8(error), content)


def decode_page(content: bytes, *, key: str) -> Document | BadRecord:
    """One object, one HTML page."""
    try:
        return read_page(html_input.decode_page(content))
    except UnicodeDecodeError as error:
        return BadRecord(key, 0, f"not {error.encoding}: {error.reason} at {error.start}", content)
    except ValueError as error:
        return BadRecord(key, 0, str(error), content)


def text_of_record(record: dict[str, Any], source: RawSource) -> str:
    """That of `source.text_field` or `source.template`, of format chat the messages. Raises ValueError."""
    return to_document(read_messages(record)) if source.format == "chat" else text_of(record, source)


def decode_record(
    line: bytes, *, source: RawSource, key: str, offset: int, to_text: ToText = text_of_record
) -> Document | BadRecord:
    """One line of JSON."""
    try:
        record = as_record(json.loads((line.removeprefix(_BOM) if offset == 0 else line).decode()))
    except UnicodeDecodeError as error:
        return BadRecord(key, offset, _not_utf8(error), line)
    except json.JSONDecodeError as error:
        return BadRecord(key, offset, f"not JSON: {error}", line)
    except (ValueError, RecursionError) as error:
        return BadRecord(key, offset, str(error), line)
    return document_of(record, source=source, key=key, offset=offset, content=line, to_text=to_text)


def document_of(
    record: dict[str, Any],
    *,
    source: RawSource,
    key: str,
    offset: int,
    content: bytes,
    to_text: ToText = text_of_record,
) -> Document | BadRecord:
    """The language is in `language`, where given. `content`: what the quarantine keeps."""
    try:
        text = to_text(record, source)
        text.encode()  # a lone surrogate escape is valid JSON but no text
    except UnicodeEncodeError:
        return BadRecord(key, offset, "the text holds half of a surrogate pair", content)
    except (ValueError, RecursionError) as error:
        return BadRecord(key, offset, str(error), content)
    return Document(text, language_of(record))


def row_content(record: dict[str, Any]) -> bytes:
    """A structured record as the quarantine keeps it."""
    return json.dumps(record, ensure_ascii=False, default=str).encode(errors="replace")


def iter_lines(read: ReadBytes, *, start: int, end: int, size: int) -> Iterator[tuple[int, bytes | LongLine]]:
    """(offset, line) of the lines that begin in start..end of an object, without their ends.

    Slices that together cover an object give each line once, wherever they are cut.
    """
    for offset, line in _lines_around(read, start=start, end=end, size=size):
        if offset >= end:
            return
        if offset >= start:
            yield offset, line


class _BegunLine:
    """A line whose end was not read yet."""

    def __init__(self, offset: int) -> None:
        self.offset, self.size = offset, 0
        self._pieces: list[bytes] = []

    @property
    def too_long(self) -> bool:
        return self.size > MAX_RECORD_BYTES

    def add(self, piece: bytes) -> None:
        if not self.too_long:
            self._pieces.append(piece)
        self.size += len(piece)
        if self.too_long:
            self._pieces = [b"".join(self._pieces)[:QUARANTINED_BYTES]]

    def content(self) -> bytes | LongLine:
        content = b"".join(self._pieces)
        return LongLine(content, self.size) if self.too_long else content


def lines_of_stream(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes | LongLine]]:
    """(offset, line) of what is read once from its beginning to its end, without line ends."""
    begun = _BegunLine(0)
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            begun.add(line)
            yield begun.offset, begun.content()
            begun = _BegunLine(begun.offset + begun.size + 1)
        begun.add(rest)
    if begun.size:
        yield begun.offset, begun.content()


def _lines_around(
    read: ReadBytes, *, start: int, end: int, size: int
) -> Iterator[tuple[int, bytes | LongLine]]:
    """Cuts at line ends; the first piece may begin within a line. Beyond `end` it reads less at a time, and
    only until the line that is wanted has ended or is too long."""
    first = max(0, start - 1)  # a line begins at `start` if the byte before it ends one
    begun = _BegunLine(first)
    starts = [*range(first, end, PIECE_BYTES), *range(end, size, REST_BYTES), size]
    for at, stop in pairwise(starts):
        if at >= end and (begun.offset < start or begun.too_long):
            break
        *ended, rest = read(at, stop).split(b"\n")
        for line in ended:
            begun.add(line)
            yield begun.offset, begun.content()
            begun = _BegunLine(begun.offset + begun.size + 1)
        begun.add(rest)
    if begun.size:
        yield begun.offset, begun.content()


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte {error.object[error.start]:#04x} at {error.start}"
