"""Samples of a WebDataset: members of a tar that share a name up to its first dot, as records. No disk.

`000.txt` and `000.json` are one sample, {"txt": ..., **the fields of the JSON}. Members that are no text
(images, audio) are passed over.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any, Final

from deepseek_workloads.data.prepare.reading import MAX_RECORD_BYTES, QUARANTINED_BYTES, BadRecord, too_large
from deepseek_workloads.data.prepare.rendering import as_record
from deepseek_workloads.data.prepare.stored_file import CannotDecompress

TEXTS: Final = frozenset({"txt", "text", "md", "html", "cls", "caption"})
Sample = dict[str, Any]


def iter_samples(file: io.BufferedIOBase, *, key: str) -> Iterator[tuple[int, Sample] | BadRecord]:
    """(offset of the first member, record), in order; `file` is read once, from its beginning."""
    name, start, sample = "", 0, Sample()
    bad = False
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it remembers all of them
                found, extension = _split(member.name)
                if found != name:
                    if sample and not bad:
                        yield start, sample
                    name, start, sample, bad = found, member.offset, Sample(), False
                outcome = _fields(archive, member, extension, key=key)
                if isinstance(outcome, BadRecord):
                    bad = True
                    yield outcome
                else:
                    sample |= outcome
    except (tarfile.TarError, CannotDecompress) as error:
        yield BadRecord(key, start, f"not a tar from here on: {error}", b"")
        return
    if sample and not bad:
        yield start, sample


def _split(path: str) -> tuple[str, str]:
    """`a/b.seg.txt`: `a/b` and `seg.txt`."""
    folder, slash, base = path.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _fields(
    archive: tarfile.TarFile, member: tarfile.TarInfo, extension: str, *, key: str
) -> Sample | BadRecord:
    if not member.isreg() or not (extension in TEXTS or extension == "json"):
        return {}
    file = archive.extractfile(member)
    assert file is not None  # a regular file has one
    where = f"{key}#{member.name}"
    if member.size > MAX_RECORD_BYTES:
        return too_large(file.read(QUARANTINED_BYTES), size=member.size, key=where, offset=member.offset)
    content = file.read()
    try:
        text = content.decode()
        return as_record(json.loads(text)) if extension == "json" else {extension: text}
    except (ValueError, RecursionError) as error:
        return BadRecord(where, member.offset, f"not {extension} in UTF-8: {error}", content)
