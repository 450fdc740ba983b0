"""The numbers of a stored tensor from its bytes. It reads nothing."""

import torch
from torch import Tensor

from deepseek_workloads.export.packed_int8 import unpacked
from deepseek_workloads.export.safetensors_index import INT8, SCALE_BLOCK, StoredTensor
from deepseek_workloads.model.integers import Int8, widened

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def numbers(stored: StoredTensor, content: bytes, scales: bytes | None = None, *, first: int = 0) -> Tensor:
    """`content` of whole rows from `first` on -> [rows, ...], in float32 what has `scales` (the bytes of
    `StoredTensor.scale_rows`), else as it is stored."""
    if scales is None:
        flat = torch.frombuffer(bytearray(content), dtype=_DTYPES[stored.dtype])
        return flat.view(-1, *stored.shape[1:])
    columns = stored.shape[1]
    raw = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, columns)
    if stored.dtype == INT8:
        assert stored.scales is not None
        of_row = torch.frombuffer(bytearray(scales), dtype=_DTYPES[stored.scales.dtype])
        return widened(Int8(unpacked(raw), of_row.float().unsqueeze(1)))
    rows = raw.view(torch.float8_e4m3fn)
    blocks = torch.frombuffer(bytearray(scales), dtype=torch.float32).view(-1, -(-columns // SCALE_BLOCK))
    above = first % SCALE_BLOCK
    of_rows = blocks.repeat_interleave(SCALE_BLOCK, dim=0)[above : above + len(rows)]
    return rows.to(torch.float32).mul_(of_rows.repeat_interleave(SCALE_BLOCK, dim=1)[:, :columns])
