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
        self._as_given: Tensor | None = None
        self._sizes: dict[int, list[int]] = {}
        self._borders: dict[int, Tensor] = {}

    @contextmanager
    def within(self, documents: Tensor | None, *, device: torch.device | None = None) -> Iterator[None]:
        """Around forward and backward of a pass. `documents` int [B, T]: equal within a document, -1 of
        padding; or, of rows of one document each, bool: False of the padding behind it, to which nothing
        attends that comes before.

        `device`: where the pass runs, if not where they are. Given as the host has them, nothing here waits
        for that device."""
        self._as_given = self._documents = documents
        if documents is not None:
            self._documents = documents = _placed(documents, device or documents.device)
            self._real = documents if documents.dtype == torch.bool else documents >= 0
        try:
            yield
        finally:
            self._allowed = self._real = self._documents = self._as_given = None
            self._sizes, self._borders = {}, {}

    @property
    def several(self) -> bool:
        """Whether rows hold several documents."""
        return self._documents is not None and self._documents.dtype != torch.bool

    def allowed(self, length: int) -> Tensor | None:
        """bool [B, 1, length, length], True where a query (rows) sees a key; None: every earlier one.
        `length` may be less than the rows', for modules that leave out the last tokens."""
        if self._documents is None or not self.several:
            return None
        if self._allowed is None:
            whole = self._documents.shape[1]
            same = self._documents.unsqueeze(1) == self._documents.unsqueeze(2)
            self._allowed = same.logical_and_(same.new_ones(whole, whole).tril()).unsqueeze(1)
        return self._allowed[:, :, :length, :length]

    def sizes(self, length: int) -> list[int]:
        """Tokens of each document of the rows' first `length`, row after row. Waits for the device that the
        documents were given on."""
        assert self._as_given is not None
        if length not in self._sizes:
            documents = self._as_given[:, :length]
            begins = torch.ones_like(documents, dtype=torch.bool)
            begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
            ends = torch.tensor([documents.numel()], device=documents.device)
            self._sizes[length] = torch.cat([begins.flatten().nonzero().flatten(), ends]).diff().tolist()
        return self._sizes[length]

    def borders(self, length: int) -> Tensor:
        """int32 [documents + 1], where each of `sizes` begins and the last ends; on the pass's device."""
        assert self._documents is not None
        if length not in self._borders:
            borders = torch.tensor([0, *self.sizes(length)], dtype=torch.int32).cumsum(0, dtype=torch.int32)
            self._borders[length] = _placed(borders, self._documents.device)
        return self._borders[length]

    def leaves(self, distance: int, *, length: int) -> Tensor | None:
        """bool [B, length], True of a token whose document ends before the one that stands `distance` further
        on; None: there is one document."""
        if self._documents is None:
            return None
        return self._documents[:, distance : distance + length] != self._documents[:, :length]

    def real(self, length: int) -> Tensor | None:
        """bool [B, length], False of padding; None: there is none. `length` as in `allowed`."""
        return None if self._real is None else self._real[:, :length]


def _placed(part: Tensor, device: torch.device) -> Tensor:
    """From pinned memory, so that the host goes on at once."""
    if part.device.type != "cpu" or device.type != "cuda":
        return part.to(device)
    return part.pin_memory().to(device, non_blocking=True)
