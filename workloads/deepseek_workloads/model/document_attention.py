"""Attention of rows that hold several documents: which kernel, by what the device can do.

It knows no projections. Who sees whom is `documents`' to say; the kernels are `causal`'s.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import torch
from torch import Tensor

from deepseek_workloads.model.causal import attend_in_documents, attend_masked, attend_packed, computed_in
from deepseek_workloads.model.documents import DocumentMask

WORTH_A_CALL: Final = 64  # tokens of a document, on the mean: below, one product under a mask is sooner done
CAPABILITY: Final = (8, 0)  # of the GPUs that flash attention has kernels for
WIDEST: Final = 256  # features of a head, likewise
_HALF_PRECISION: Final = (torch.bfloat16, torch.float16)


class Kernel(Enum):
    PACKED = "one kernel that skips what is between documents"
    ONE_BY_ONE = "each document by itself"
    MASKED = "all products, under a mask of T x T"


def attend_within_documents(
    queries: Tensor, keys: Tensor, values: Tensor, *, documents: DocumentMask, scale: float
) -> Tensor:
    """`queries` and `keys` [B, T, A, D], `values` [B, T, A, W] of whole rows -> [B, T, A, W]."""
    length = queries.shape[1]
    sizes = documents.sizes(length)
    kernel = choose(
        queries.device.type,
        capability=_capability(queries.device),
        dtype=computed_in(queries),
        width=max(queries.shape[-1], values.shape[-1]),
        sizes=sizes,
    )
    parts = queries, keys, values
    match kernel:
        case Kernel.PACKED:
            borders = documents.borders(length)
            return attend_packed(*parts, borders=borders, longest=max(sizes), scale=scale)
        case Kernel.ONE_BY_ONE:
            return attend_in_documents(*parts, sizes=sizes, scale=scale)
        case Kernel.MASKED:
            allowed = documents.allowed(length)
            assert allowed is not None
            return attend_masked(*parts, mask=allowed, scale=scale)


def choose(
    device: str,
    *,
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    width: int,
    sizes: Sequence[int],
) -> Kernel:
    """`device`: a torch device's type; `capability`: of its flash attention, None where it has none; `width`:
    features of a head; `sizes`: tokens of each document. A CPU computes what a mask hides."""
    flash = capability is not None and capability >= CAPABILITY
    if flash and dtype in _HALF_PRECISION and width <= WIDEST:
        return Kernel.PACKED
    if device == "cpu" and len(sizes) * WORTH_A_CALL <= sum(sizes):
        return Kernel.ONE_BY_ONE
    return Kernel.MASKED


def _capability(device: torch.device) -> tuple[int, int] | None:
    """The compute capability of an NVIDIA GPU, if torch was built with flash attention for it."""
    if device.type != "cuda" or torch.version.hip or not torch.backends.cuda.is_flash_attention_available():
        return None
    return torch.cuda.get_device_capability(device)
