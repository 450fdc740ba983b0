"""The numbers of a stored tensor from its bytes. It reads nothing."""

import torch
from torch import Tensor

from deepseek_workloads.export.safetensors_index import SCALE_BLOCK, StoredTensor

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def numbers(stored: StoredTensor, content: bytes, scales: bytes | None = None, *, first: int = 0) -> Tensor:
    """`content` of whole rows from `first` on -> [rows, ...], in float32 what has `scales` (the bytes of
    `StoredTensor.scale_rows`), else as it is stored."""
    if scales is None:
        flat = torch.frombuffer(bytearray(content), dtype=_DTYPES[stored.dtype])
        return flat.view(-1, *stored.shape[1:])
    columns = stored.shape[1]
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(torch.float8_e4m3fn).view(-1, columns)
    blocks = torch.frombuffer(bytearray(scales), dtype=torch.float32).view(-1, -(-columns // SCALE_BLOCK))
    above = first % SCALE_BLOCK
    of_rows = blocks.repeat_interleave(SCALE_BLOCK, dim=0)[above : above + len(rows)]
    return rows.to(torch.float32).mul_(of_rows.repeat_interleave(SCALE_BLOCK, dim=1)[:, :columns])
