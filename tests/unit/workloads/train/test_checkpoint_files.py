"""Files of a checkpoint are safetensors files as the library reads them, written again and again in place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load
from torch import Tensor
from torch.distributed.checkpoint.default_planner import create_default_local_save_plan

from deepseek_workloads.train import checkpoint_files
from deepseek_workloads.train.checkpoint_files import StagedFile, file_layouts

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8]
TENSORS = st.lists(
    st.tuples(st.sampled_from([*DTYPES, torch.bool]), st.lists(st.integers(0, 5), max_size=3)), max_size=8
)


def state(described: list[tuple[torch.dtype, list[int]]], *, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"tensor.{number}": torch.randint(0, 2, shape, generator=generator).to(dtype)
        for number, (dtype, shape) in enumerate(described)
    }


def staged(tensors: dict[str, Tensor]) -> list[StagedFile]:
    plan = create_default_local_save_plan(tensors, is_coordinator=True)
    return [StagedFile(layout, pinned=False) for layout in file_layouts(plan.items, rank=3)]


def read(files: list[StagedFile]) -> dict[str, Tensor]:
    return {
        name.partition("@")[0]: tensor for file in files for name, tensor in load(bytes(file.content)).items()
    }


@given(TENSORS)
def test_the_library_reads_what_was_staged_last(described: list[tuple[torch.dtype, list[int]]]) -> None:
    files = staged(state(described, seed=0))
    for seed in (1, 2):
        tensors = state(described, seed=seed)
        for file in files:
            file.stage(tensors)
        found = read(files)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_files_are_closed_when_they_are_large_and_named_by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_files, "_FILE_BYTES", 32)
    files = staged({name: torch.zeros(4) for name in "abcde"})
    assert [file.name for file in files] == [f"rank00003-{number:05d}.safetensors" for number in range(3)]


def test_tensors_that_share_memory_are_written_each() -> None:
    tied = torch.arange(4.0)
    tensors = {"embed": tied, "head": tied}
    (file,) = staged(tensors)
    file.stage(tensors)
    assert torch.equal(read([file])["head"], tied)


def test_pieces_have_checksums_of_their_own() -> None:
    tensors = {"a": torch.zeros(4), "b": torch.zeros(4)}
    (file,) = staged(tensors)
    file.stage(tensors)
    before = {index.fqn: chunk.checksum for index, chunk in file.chunks()}
    file.stage({**tensors, "b": torch.ones(4)})
    after = {index.fqn: chunk.checksum for index, chunk in file.chunks()}
    assert before["a"] == after["a"]
    assert before["b"] != after["b"]
