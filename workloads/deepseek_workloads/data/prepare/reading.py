"""Raw bytes to documents, strictly: what is not valid UTF-8 or JSON is set aside and counted, never guessed.

It knows formats, not stores: `read` is any function from (start, end) to bytes.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.prepare.documents import Document

ReadBytes = Callable[[int, int], bytes]
PIECE_BYTES = 8 * 1024 * 1024
REST_BYTES = 256 * 1024
QUARANTINED_BYTES = 64 * 1024  # of a bad record, so that a quarantine is never larger than its data
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BadRecord:
    key: str
    offset: int  # bytes into the object
    reason: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.key} at byte {self.offset}: {self.reason}"

    def to_json(self) -> bytes:
        document = {
            "key": self.key,
            "offset": self.offset,
            "size": len(self.content),
            "reason": self.reason,
            "contentBase64": base64.b64encode(self.content[:QUARANTINED_BYTES]).decode(),
        }
        return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def decode_text(content: bytes, *, key: str) -> Document | BadRecord:
    """One object, one document."""
    try:
        return Document(content.removeprefix(_BOM).decode())
    except UnicodeDecodeError as error:
        return BadRecord(key, 0, _not_utf8(error), content)


def decode_record(line: bytes, *, source: RawSource, key: str, offset: int) -> Document | BadRecord:
    """One line of JSON with the text in `source.text_field`, and the language, where given, in `language`."""
    try:
        record = json.loads((line.removeprefix(_BOM) if offset == 0 else line).decode())
        if not isinstance(record, dict):
            raise ValueError(f"a JSON object is needed, this is a {type(record).__name__}")
        text = record.get(source.text_field)
        if not isinstance(text, str):
            raise ValueError(f"field {source.text_field!r} must be a string, it is {_kind(record, source)}")
        text.encode()  # a lone surrogate escape is valid JSON but no text
    except UnicodeDecodeError as error:
        return BadRecord(key, offset, _not_utf8(error), line)
    except UnicodeEncodeError:
        return BadRecord(key, offset, "the text holds half of a surrogate pair", line)
    except json.JSONDecodeError as error:
        return BadRecord(key, offset, f"not JSON: {error}", line)
    except (ValueError, RecursionError) as error:
        return BadRecord(key, offset, str(error), line)
    language = record.get("language")
    return Document(text, language if isinstance(language, str) else "")


def iter_lines(read: ReadBytes, *, start: int, end: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the lines that begin in start..end of an object, without their ends.

    Slices that together cover an object give each line once, wherever they are cut.
    """
    first = max(0, start - 1)  # a line begins at `start` if the byte before it ends one
    for offset, line in _lines_from(read, first, end=end, size=size):
        if offset >= end:
            return
        if offset >= start:
            yield offset, line


def _lines_from(read: ReadBytes, first: int, *, end: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Cuts at line ends from `first` on; the first piece may begin within a line. Beyond `end`, where only
    the rest of one line is wanted, it reads less at a time."""
    begun: list[bytes] = []  # pieces of a line whose end was not read yet
    offset = first
    starts = [*range(first, end, PIECE_BYTES), *range(end, size, REST_BYTES), size]
    for start, stop in pairwise(starts):
        *ended, rest = read(start, stop).split(b"\n")
        for line in ended:
            whole = b"".join([*begun, line])
            yield offset, whole
            offset += len(whole) + 1
            begun = []
        begun.append(rest)
    if any(begun):
        yield offset, b"".join(begun)


def _kind(record: dict[str, object], source: RawSource) -> str:
    if source.text_field not in record:
        return "missing"
    return f"a {type(record[source.text_field]).__name__}"


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte {error.object[error.start]:#04x} at {error.start}"
