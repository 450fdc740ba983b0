"""Images in a sequence: the features of each take the places of its placeholder tokens, one a patch.

Features replace embeddings, so that everything after the embedding (positions, attention, mixtures, modules
that look further) treats them as tokens; their labels are ignored. One `ImageInputs` belongs to a model: it
is about the images of a pass. Without images given, a model is one of text alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Those of the rows of a pass, N of P patches; none is N = 0."""

    patches: Tensor  # uint8 [N, P, W], see `vision`
    rows: Tensor  # int64 [N]
    columns: Tensor  # int64 [N], of the first of P placeholders; those outside of the row are left out

    def to(self, device: torch.device) -> "Images":
        return Images(self.patches.to(device), self.rows.to(device), self.columns.to(device))

    def or_blank(self) -> Tensor:
        """The patches of the images, or of one black image: where ranks average gradients, each pass of each
        of them must give every weight of the encoder one."""
        return self.patches if len(self.patches) else self.patches.new_zeros(1, *self.patches.shape[1:])


class ImageInputs:
    def __init__(self) -> None:
        self.current: Images | None = None
        self.features: Tensor | None = None  # [N, P, H], projected, of the last forward pass over `current`

    @contextmanager
    def within(self, images: Images | None) -> Iterator[None]:
        """Around forward and backward of a pass."""
        self.current = images
        try:
            yield
        finally:
            self.current = self.features = None


def place(embedded: Tensor, features: Tensor, images: Images) -> Tensor:
    """`embedded` [B, T, H] with `features` [N, P, H] where the images stand. A blank image's go nowhere."""
    if not len(images.patches):
        return embedded + 0 * features.sum().to(embedded.dtype)
    length = embedded.shape[1]
    columns = images.columns.unsqueeze(1) + torch.arange(features.shape[1], device=features.device)
    flat = images.rows.unsqueeze(1) * length + columns
    seen = (columns >= 0) & (columns < length)
    placed = embedded.flatten(0, 1).index_copy(0, flat[seen], features[seen].to(embedded.dtype))
    return placed.view_as(embedded)


def find_images(input_ids: Tensor, patches: Tensor, *, image_token_id: int) -> Images:
    """int64 [B, T] with whole images' placeholders, `patches` uint8 [N, P, W] of these in their order.
    Raises ValueError where they are not as many."""
    count, size = patches.shape[:2]
    rows, columns = (input_ids == image_token_id).nonzero(as_tuple=True)
    if len(rows) != count * size:
        raise ValueError(
            f"input_ids hold {len(rows)} tokens of id {image_token_id}, and {count} images of {size} patches "
            f"need {count * size}: write {size} of them for each image"
        )
    rows, columns = rows.view(count, size), columns.view(count, size)
    in_one_piece = (rows == rows[:, :1]).all() and (
        columns - columns[:, :1] == torch.arange(size).to(columns)
    ).all()
    if count and not in_one_piece:
        raise ValueError(
            f"input_ids: the {size} tokens of id {image_token_id} of an image must follow each other in a row"
        )
    return Images(patches, rows[:, 0], columns[:, 0])
