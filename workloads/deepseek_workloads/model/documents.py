"""Which tokens of a row belong together: attention stays within a document where rows hold several.

One object is shared by the attention of all layers of a model: it is about the rows of a pass, not a layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor


class DocumentMask:
    """Without one, a token attends to all that stand before it in its row."""

    def __init__(self) -> None:
        self._allowed: Tensor | None = None

    @contextmanager
    def within(self, documents: Tensor | None) -> Iterator[None]:
        """Around forward and backward of a pass. `documents` int [B, T]: equal within a document."""
        if documents is not None:
            length = documents.shape[1]
            same = documents.unsqueeze(1) == documents.unsqueeze(2)
            self._allowed = same.logical_and_(same.new_ones(length, length).tril()).unsqueeze(1)
        try:
            yield
        finally:
            self._allowed = None

    def allowed(self, length: int) -> Tensor | None:
        """bool [B, 1, length, length], True where a query (rows) sees a key; None: every earlier one.
        `length` may be less than the rows', for modules that leave out the last tokens."""
        return None if self._allowed is None else self._allowed[:, :, :length, :length]
