"""The text of bench-prepare: the reference documentation in botocore's service models; uv.lock pins it.

A document is an operation: what it does, and its input and output with their members. It is prose with lists
and tables, in English, and much of it recurs, word for word or nearly, between services and their versions.
"""

import gzip
import html
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore

_BLOCK_END = re.compile(
    r"</(?:p|li|ul|ol|dl|dd|dt|h\d|note|important|table|tr|pre)>|<br\s*/?>", re.IGNORECASE
)
_TAG = re.compile(r"<[^>]*>")
_SPACES = re.compile(r"[^\S\n]+")
_DEPTH = 3  # of shapes within shapes


def documents(*, at_least_bytes: int) -> Iterator[str]:
    """Until so many bytes of UTF-8 were given; of the services in the order of their names."""
    given = 0
    for path in sorted((Path(botocore.__file__).parent / "data").glob("*/*/service-2.json.gz")):
        model = json.loads(gzip.decompress(path.read_bytes()))
        for name in sorted(model["operations"]):
            text = _operation(model, name)
            given += len(text.encode())
            yield text
        if given >= at_least_bytes:
            return


def edited(texts: list[str], *, seed: int) -> Iterator[str]:
    """Each text, and a copy in which up to a fifteenth of the words are others."""
    generator = random.Random(seed)  # noqa: S311  not for secrets
    for text in texts:
        yield text
        words = text.split()
        for at in generator.sample(range(len(words)), generator.randrange(len(words) // 15 + 1)):
            words[at] = f"edited{generator.randrange(10**6)}"
        yield " ".join(words)


def write_lines(texts: Iterator[str], path: Path) -> int:
    """JSON lines; returns the bytes of text."""
    size = 0
    with path.open("w") as file:
        for number, text in enumerate(texts):
            size += len(text.encode())
            file.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")
    return size


def _operation(model: dict[str, Any], name: str) -> str:
    operation = model["operations"][name]
    parts = [name, operation.get("documentation", "")]
    for side in ("input", "output"):
        if side in operation:
            parts += _shape(model["shapes"], operation[side]["shape"], depth=_DEPTH)
    return _plain("\n".join(parts))


def _shape(shapes: dict[str, Any], name: str, *, depth: int) -> Iterator[str]:
    shape = shapes[name]
    yield shape.get("documentation", "")
    for member, described in shape.get("members", {}).items():
        yield f"{member}: {described['documentation']}" if "documentation" in described else ""
        if depth > 1:
            yield from _shape(shapes, described["shape"], depth=depth - 1)


def _plain(markup: str) -> str:
    text = html.unescape(_TAG.sub(" ", _BLOCK_END.sub("\n", markup)))
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
