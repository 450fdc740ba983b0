"""A token dataset in a store, written by hand: tests of reading must not depend on preparation."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from deepseek_workloads.contract.records import DatasetManifest, Shard, SplitStatistics
from deepseek_workloads.contract.run_config import Data, Source, Storage
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ObjectStore

WriteDataset = Callable[..., DatasetManifest]


def _write_shard(store: ObjectStore, key: str, tokens: np.ndarray, *, chunk_tokens: int) -> Shard:
    content = tokens.tobytes()
    width = tokens.itemsize * chunk_tokens
    store.put(key, content)
    return Shard(
        key=key,
        dtype=tokens.dtype.name,
        tokens=len(tokens),
        documents=1,
        size=len(content),
        chunk_tokens=chunk_tokens,
        chunk_checksums=[chunk_checksum(content[at : at + width]) for at in range(0, len(content), width)],
        document_offsets_key=f"{key}.offsets",
        document_offsets_checksum=object_checksum(b""),
    )


@pytest.fixture
def write_dataset() -> WriteDataset:
    """`write_dataset(store, [100, 50])`: two shards with the token ids 0, 1, 2, ... from `first_id` on."""

    def write(
        store: ObjectStore,
        shard_tokens: Sequence[int],
        *,
        held_out_tokens: Sequence[int] = (),
        chunk_tokens: int = 16,
        first_id: int = 0,
        dtype: str = "uint16",
        tokenizer_digest: str = "sha256:" + "0" * 64,
        held_out: SplitStatistics | None = None,
    ) -> DatasetManifest:
        shards: dict[str, list[Shard]] = {"train": [], "held_out": []}
        for split, sizes in (("train", shard_tokens), ("held_out", held_out_tokens)):
            start = first_id
            for number, size in enumerate(sizes):
                tokens = np.arange(start, start + size).astype(dtype)
                key = f"data/{split}-{number}.bin"
                shards[split].append(_write_shard(store, key, tokens, chunk_tokens=chunk_tokens))
                start += size
        return DatasetManifest(
            tokenizer_key="data/tokenizer.json",
            tokenizer_digest=tokenizer_digest,
            vocab_size=65536,
            eos_token_id=0,
            statistics={"heldOut": held_out or SplitStatistics(tokens=sum(held_out_tokens))},
            **shards,
        )

    return write


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[str], FileObjectStore]:
    return lambda name: FileObjectStore(tmp_path / name)


@pytest.fixture
def make_data() -> Callable[..., Data]:
    def make(weights: Sequence[float] = (1.0,), *, sequence_length: int = 4, seed: int = 0) -> Data:
        sources = [
            Source(name=f"source-{index}", storage=Storage(uri=f"s3://bucket/{index}"), weight=weight)
            for index, weight in enumerate(weights)
        ]
        return Data(sources=sources, sequence_length=sequence_length, seed=seed)

    return make
