"""Texts to arrays of token ids, in batches. Pure; the tokenizer is any of the `tokenizers` library."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

BATCH_CHARACTERS = 1024 * 1024
# A longer text is encoded in pieces, cut where a line begins with a letter: an encoding needs some hundred
# bytes of memory a token. Only a tokenizer that merges over such line ends would give other ids there.
PIECE_CHARACTERS = 4 * 1024 * 1024
_LINE_START = re.compile(r"(?<=\n)(?=[^\W\d_])")


def encode_documents(
    tokenizer: Tokenizer, texts: Iterable[str], *, eos_token_id: int
) -> Iterator[npt.NDArray[np.uint32]]:
    """The ids of each text, and the EOS id at its end, in order."""
    for batch in _batches(texts):
        pieces = [cut(text) for text in batch]
        encoded = tokenizer.encode_batch_fast(
            [piece for of_text in pieces for piece in of_text], add_special_tokens=False
        )
        position = 0
        for of_text in pieces:
            ids = chain.from_iterable(
                encoding.ids for encoding in encoded[position : position + len(of_text)]
            )
            position += len(of_text)
            yield np.array([*ids, eos_token_id], dtype=np.uint32)


def cut(text: str) -> list[str]:
    """Pieces that joined give the text; one, unless it is longer than PIECE_CHARACTERS."""
    pieces = []
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        found = _LINE_START.search(text, start + PIECE_CHARACTERS)
        if found is None:
            break
        pieces.append(text[start : found.start()])
        start = found.start()
    return [*pieces, text[start:]]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
