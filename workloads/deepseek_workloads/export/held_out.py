"""A little held-out text that travels with a model, so that a service can measure it before it serves it.

It is part of the export's manifest like every other file. It knows token ids and text, not models.
"""

import json
from collections.abc import Callable, Sequence

HELD_OUT_TEXT = "held_out_text.json"
MAX_TEXT_BYTES = 64 * 1024  # of UTF-8, all texts together
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def held_out_texts(
    windows: Sequence[Sequence[int]], *, decode: Callable[[Sequence[int]], str], eos_token_id: int
) -> list[str]:
    """The documents in the windows, cut alike so that every window has its share of MAX_TEXT_BYTES."""
    share = MAX_TEXT_BYTES // max(1, len(windows))
    texts = []
    for window in windows:
        left = share
        for document in _split(window, eos_token_id):
            text = _cut(_cleaned(decode(document)), left)
            left -= len(text.encode())
            if text:
                texts.append(text)
    return texts


def to_document(texts: Sequence[str]) -> bytes:
    return (json.dumps({"texts": list(texts)}, ensure_ascii=False, indent=1) + "\n").encode()


def from_document(document: bytes) -> list[str]:
    """Raises ValueError."""
    texts = json.loads(document).get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{HELD_OUT_TEXT}: `texts` must be a list of texts")
    return texts


def _split(window: Sequence[int], eos_token_id: int) -> list[list[int]]:
    documents: list[list[int]] = [[]]
    for token in window:
        if token == eos_token_id:
            documents.append([])
        else:
            documents[-1].append(token)
    return [document for document in documents if document]


def _cleaned(text: str) -> str:
    """A window may begin and end within a character."""
    return text.strip(_REPLACEMENT)


def _cut(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8, whole characters."""
    return text.encode()[: max(0, size)].decode(errors="ignore")
