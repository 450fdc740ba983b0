"""Which tokens of a row belong together: attention stays within a document where rows hold several, and
routers count no padding.

One object is shared by all layers of a model: it is about the rows of a pass, not a layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class DocumentMask:
    """Without one, a token attends to all that stand before it in its row."""

    def __init__(self) -> None:
        self._allowed: Tensor | None = None
        self._real: Tensor | None = None
        self._documents: Tensor | None = None

    @contextmanager
    def within(self, documents: Tensor | None) -> Iterator[None]:
        """Around forward and backward of a pass. `documents` int [B, T]: equal within a document, -1 of
        padding; or, of rows of one document each, bool: False of the padding behind it, to which nothing
        attends that comes before."""
        self._documents = documents
        if documents is not None and documents.dtype == torch.bool:
            self._real = documents
        elif documents is not None:
            self._real = documents >= 0
            length = documents.shape[1]
            same = documents.unsqueeze(1) == documents.unsqueeze(2)
            self._allowed = same.logical_and_(same.new_ones(length, length).tril()).unsqueeze(1)
        try:
            yield
        finally:
            self._allowed = self._real = self._documents = None

    def allowed(self, length: int) -> Tensor | None:
        """bool [B, 1, length, length], True where a query (rows) sees a key; None: every earlier one.
        `length` may be less than the rows', for modules that leave out the last tokens."""
        return None if self._allowed is None else self._allowed[:, :, :length, :length]

    def leaves(self, distance: int, *, length: int) -> Tensor | None:
        """bool [B, length], True of a token whose document ends before the one that stands `distance` further
        on; None: there is one document."""
        if self._documents is None:
            return None
        return self._documents[:, distance : distance + length] != self._documents[:, :length]

    def real(self, length: int) -> Tensor | None:
        """bool [B, length], False of padding; None: there is none. `length` as in `allowed`."""
        return None if self._real is None else self._real[:, :length]
