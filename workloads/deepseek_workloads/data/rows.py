"""From the tokens of windows to the tensors of a batch: inputs, what is predicted, which document is whose.

b rows of T = sequence_length. It does not know where tokens come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepseek_workloads.data.images import PlacedImage
from deepseek_workloads.data.loss_mask import ids_of, predicted_of
from deepseek_workloads.data.windows import Offsets, PackedWindows, Windows

IGNORED: Final = -100  # a label that is not predicted; PyTorch's own default
_PADDING: Final = 0  # no document attends to it, none is predicted from it
Tokens = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class RowImages:
    """Of all rows, N of P patches, W bytes each; none is N = 0."""

    patches: Tensor  # uint8 [N, P, W]
    rows: Tensor  # int64 [N]
    columns: Tensor  # int64 [N], of the first of P placeholder tokens; a cut document may end within them


@dataclass(frozen=True)
class Rows:
    input_ids: Tensor  # int64 [b, T+1]
    labels: Tensor  # int64 [b, T]: column t is what follows column t of the inputs, or IGNORED
    documents: Tensor | None = (
        None  # int64 [b, T+1]: equal within a document; None: attention goes back freely
    )

    images: RowImages | None = None  # None: no source of the run has any
    separate: bool = False  # each row is of one document, with its padding behind it

    @property
    def documents_of_inputs(self) -> Tensor | None:
        """`documents` of the inputs, [b, T], as `model.documents` takes them."""
        if self.documents is None:
            return None
        if self.separate:  # what nothing follows is no input: alone a document would end before it
            return self.documents[:, 1:] >= 0
        return self.documents[:, :-1]

    def tokens(self, row: int) -> list[int]:
        """Of one row, without padding."""
        ids = self.input_ids[row]
        return (ids if self.documents is None else ids[self.documents[row] >= 0]).tolist()

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """[b, T]: the positions whose labels count."""
        counted: npt.NDArray[np.bool_] = (self.labels != IGNORED).numpy()
        return counted

    @property
    def predicted(self) -> int:
        """How many labels count."""
        return int(self.counted.sum())


def build_rows(
    tokens: Sequence[Tokens],
    windows: Sequence[tuple[Windows, int]],
    *,
    sequence_length: int,
    images: Sequence[Sequence[PlacedImage]] = (),
    image_shape: tuple[int, int] | None = None,
    separate: bool = False,
    document_starts: Sequence[Offsets | None] = (),
) -> Rows:
    """`tokens` of each window, T+1 at most; those of packed windows carry a loss mask and are filled up.
    `images` of each window, where there is an `image_shape`: P and W. `separate`: windows hold one document
    each. `document_starts` of each window of running text, where its documents are to be apart."""
    if not any(isinstance(of_source, PackedWindows) for of_source, _ in windows):
        ids = torch.empty(len(tokens), sequence_length + 1, dtype=torch.int64)
        filled = ids.numpy()
        for row, content in enumerate(tokens):
            filled[row] = ids_of(content)
        return _apart(ids, [starts for starts in document_starts if starts is not None])
    width = sequence_length + 1
    ids = torch.full((len(tokens), width), _PADDING)
    labels = torch.full((len(tokens), width), IGNORED)
    documents = torch.full((len(tokens), width), -1)
    for row, (content, (of_source, window)) in enumerate(zip(tokens, windows, strict=True)):
        assert isinstance(of_source, PackedWindows)
        size = len(content)
        ids[row, :size] = torch.from_numpy(ids_of(content).astype(np.int64))
        labels[row, :size] = ids[row, :size].where(torch.from_numpy(predicted_of(content)), IGNORED)
        documents[row, :size] = torch.from_numpy(of_source.documents(window))
    # What a document begins with does not follow from the one before.
    labels[:, 1:].masked_fill_(documents[:, 1:] != documents[:, :-1], IGNORED)
    of_rows = None if image_shape is None else _row_images(images, image_shape)
    return Rows(ids, labels[:, 1:], documents, of_rows, separate)


def _apart(ids: Tensor, document_starts: Sequence[Offsets]) -> Rows:
    """Rows of running text; without `document_starts` of each, documents are nobody's business."""
    if not document_starts:
        return Rows(ids, ids[:, 1:])
    begins = torch.zeros_like(ids)
    for row, starts in enumerate(document_starts):
        begins[row, torch.from_numpy(starts)] = 1
    # From the end of a document nothing follows about the next.
    return Rows(ids, ids[:, 1:].masked_fill(begins[:, 1:] == 1, IGNORED), begins.cumsum(1))


def _row_images(images: Sequence[Sequence[PlacedImage]], shape: tuple[int, int]) -> RowImages:
    placed = [(row, image) for row, of_row in enumerate(images) for image in of_row]
    content = np.frombuffer(b"".join(image.content for _, image in placed), dtype=np.uint8)
    return RowImages(
        patches=torch.from_numpy(content.reshape(len(placed), *shape).copy()),
        rows=torch.tensor([row for row, _ in placed], dtype=torch.int64),
        columns=torch.tensor([image.column for _, image in placed], dtype=torch.int64),
    )
