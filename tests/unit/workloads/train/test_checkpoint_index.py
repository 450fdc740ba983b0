"""The JSON form of DCP's metadata loses nothing and executes nothing."""

import pytest
import torch
from pydantic import ValidationError
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from deepseek_workloads.train.checkpoint_index import CheckpointIndex, StoredChunk, index_of


def chunk(offsets: list[int], shape: list[int]) -> StoredChunk:
    return StoredChunk(
        offsets=offsets, shape=shape, file="f.safetensors", start=8, end=16, checksum="xxh3-64:0"
    )


def metadata(dtype: torch.dtype = torch.bfloat16) -> tuple[Metadata, dict[MetadataIndex, StoredChunk]]:
    boxes = [([0, 0], [2, 3]), ([2, 0], [1, 3])]
    tensor = TensorStorageMetadata(
        properties=TensorProperties(dtype=dtype),
        size=torch.Size([3, 3]),
        chunks=[ChunkStorageMetadata(torch.Size(o), torch.Size(s)) for o, s in boxes],
    )
    scalar = TensorStorageMetadata(
        properties=TensorProperties(dtype=torch.float32),
        size=torch.Size([]),
        chunks=[ChunkStorageMetadata(torch.Size([]), torch.Size([]))],
    )
    places = {MetadataIndex("w", torch.Size(o)): chunk(o, s) for o, s in boxes}
    places[MetadataIndex("step", torch.Size([]))] = chunk([], [])
    return Metadata(state_dict_metadata={"w": tensor, "step": scalar}), places


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8])
def test_metadata_comes_back_through_json(dtype: torch.dtype) -> None:
    original, places = metadata(dtype)
    document = index_of(original, places).to_json()
    restored = CheckpointIndex.model_validate_json(document).to_metadata()
    assert restored.state_dict_metadata == original.state_dict_metadata
    assert restored.storage_data == places


def test_what_is_no_tensor_is_refused_instead_of_pickled() -> None:
    with pytest.raises(TypeError, match="extra"):
        index_of(Metadata(state_dict_metadata={"extra": BytesStorageMetadata()}), {})


@pytest.mark.parametrize("document", [b"", b"{}", b'{"tensors":[{"name":"w"}]}', b"\x80\x04."])
def test_a_document_that_is_no_index_is_an_error(document: bytes) -> None:
    with pytest.raises(ValidationError):
        CheckpointIndex.model_validate_json(document)


@pytest.mark.parametrize("dtype", ["nn", "no_such_type", "save"])
def test_a_dtype_that_torch_does_not_have_is_an_error(dtype: str) -> None:
    original, places = metadata()
    document = index_of(original, places).to_json().replace(b'"bfloat16"', f'"{dtype}"'.encode())
    with pytest.raises(ValueError, match=dtype):
        CheckpointIndex.model_validate_json(document).to_metadata()
