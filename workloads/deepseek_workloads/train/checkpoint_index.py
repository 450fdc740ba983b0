"""`metadata.json` of a checkpoint: where each piece of each tensor lies, and its checksum.

It says what torch.distributed.checkpoint keeps in a pickle, as JSON: reading a checkpoint executes nothing.
"""

from typing import Literal

import torch
from pydantic import Field
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from deepseek_workloads.contract.keys import RelativeKey
from deepseek_workloads.contract.wire import TolerantWireModel


class StoredChunk(TolerantWireModel):
    """A box of a tensor, contiguous and little-endian, in bytes start..end of a file."""

    offsets: list[int]  # of the box in the tensor
    shape: list[int]
    file: RelativeKey  # relative to the checkpoint's prefix
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    checksum: str  # xxh3-64:<hex>


class StoredTensor(TolerantWireModel):
    name: str
    dtype: str  # as torch names it, e.g. bfloat16
    shape: list[int]
    chunks: list[StoredChunk]


class CheckpointIndex(TolerantWireModel):
    format_version: Literal[1] = 1
    tensors: list[StoredTensor]

    def to_metadata(self) -> Metadata:
        """As DCP's planners want it; `storage_data` maps to StoredChunk."""
        return Metadata(
            state_dict_metadata={tensor.name: _tensor_metadata(tensor) for tensor in self.tensors},
            storage_data={
                MetadataIndex(tensor.name, torch.Size(chunk.offsets)): chunk
                for tensor in self.tensors
                for chunk in tensor.chunks
            },
        )


def index_of(metadata: Metadata, chunks: dict[MetadataIndex, StoredChunk]) -> CheckpointIndex:
    """Raises TypeError for an entry that is no tensor: it would have to be pickled."""
    tensors = []
    for name, entry in metadata.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise TypeError(f"{name}: only tensors are stored in a checkpoint, not {type(entry).__name__}")
        tensors.append(
            StoredTensor(
                name=name,
                dtype=str(entry.properties.dtype).removeprefix("torch."),
                shape=list(entry.size),
                chunks=[chunks[MetadataIndex(name, chunk.offsets)] for chunk in entry.chunks],
            )
        )
    return CheckpointIndex(tensors=tensors)


def dtype_of(name: str) -> torch.dtype:
    """Raises ValueError for a name that torch does not have."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype {name!r}: torch has none of this name")
    return dtype


def _tensor_metadata(tensor: StoredTensor) -> TensorStorageMetadata:
    return TensorStorageMetadata(
        properties=TensorProperties(dtype=dtype_of(tensor.dtype)),
        size=torch.Size(tensor.shape),
        chunks=[
            ChunkStorageMetadata(torch.Size(chunk.offsets), torch.Size(chunk.shape))
            for chunk in tensor.chunks
        ],
    )
