"""Our stream as `bench-stream` runs it: a dataset in our format, one reading of it, and a resume far inside a
manifest of more samples than any disk of a test holds. Each in a process of its own."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from reading import measure

from deepseek_workloads.contract.records import DatasetManifest, Shard
from deepseek_workloads.contract.run_config import Data, Source, Storage
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.store import s3  # noqa: F401 - before the clock starts
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store

SHARD_TOKENS, CHUNK_TOKENS = 8 * 1024 * 1024, 512 * 1024  # what preparation makes
_PREFIX = "ours"
_DIGEST = "sha256:" + "0" * 64  # of a tokenizer: there is none


def write(options: argparse.Namespace) -> None:
    """Of the tokens in a .npy file."""
    store = _store(options)
    tokens = np.load(options.tokens)
    shards = [
        _write_shard(store, f"data/{start}.bin", tokens[start : start + SHARD_TOKENS])
        for start in range(0, len(tokens), SHARD_TOKENS)
    ]
    store.put("manifest.json", _manifest(shards).to_json())
    store.close()


def read(options: argparse.Namespace) -> None:
    def open_loader() -> tuple[Iterator[Any], Callable[[], None]]:
        store = _store(options)
        return _open(options, store, load_manifest(store, None), start_sample=0)

    measure(
        open_loader,
        batch_size=options.batch_size,
        sequence_length=options.width - 1,
        samples=options.samples,
    )


def resume(options: argparse.Namespace) -> None:
    """Seconds from opening to the batch at `start_sample`. The manifest names the shards that are there again
    and again, as many as that sample needs; reading is real."""
    store = _store(options)
    found = load_manifest(store, None)
    shards = found.train[:-1] or found.train
    needed = 2 * options.start_sample * (options.width - 1) // SHARD_TOKENS + 1
    long = found.model_copy(update={"train": (shards * (needed // len(shards) + 1))[:needed]})
    begun = time.perf_counter()
    batches, close = _open(options, store, long, start_sample=options.start_sample)
    next(batches)
    seconds = time.perf_counter() - begun
    close()
    sys.stdout.write(json.dumps({"seconds": seconds, "samples": needed * SHARD_TOKENS}) + "\n")


def _open(
    options: argparse.Namespace, store: ObjectStore, manifest: DatasetManifest, *, start_sample: int
) -> tuple[Iterator[Any], Callable[[], None]]:
    source = Source(name="tokens", storage=Storage(uri=store.uri))
    data = Data(sources=[source], sequence_length=options.width - 1, seed=17)
    stream = BatchStream(
        SamplePlan(data, [manifest]),
        [store],
        rank=0,
        world_size=1,
        global_batch_size=options.batch_size,
        micro_batch_size=options.batch_size,
        start_sample=start_sample,
    )
    return stream, stream.close


def _store(options: argparse.Namespace) -> ObjectStore:
    return open_store(Storage(uri=f"s3://{options.bucket}/{_PREFIX}", endpoint_url=options.endpoint_url))


def _write_shard(store: ObjectStore, key: str, tokens: npt.NDArray[np.uint16]) -> Shard:
    content = tokens.tobytes()
    width = CHUNK_TOKENS * tokens.itemsize
    store.put(key, content)
    return Shard(
        key=key,
        dtype="uint16",
        tokens=len(tokens),
        documents=1,
        size=len(content),
        chunk_tokens=CHUNK_TOKENS,
        chunk_checksums=[chunk_checksum(content[at : at + width]) for at in range(0, len(content), width)],
        document_offsets_key=f"{key}.offsets",
        document_offsets_checksum=object_checksum(b""),
    )


def _manifest(shards: list[Shard]) -> DatasetManifest:
    return DatasetManifest(
        tokenizer_key="tokenizer.json",
        tokenizer_digest=_DIGEST,
        vocab_size=65536,
        eos_token_id=0,
        train=shards,
        held_out=[],
        statistics={},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["write", "read", "resume"])
    parser.add_argument("settings", type=json.loads)
    options = parser.parse_args()
    settings = argparse.Namespace(**options.settings)
    {"write": write, "read": read, "resume": resume}[options.command](settings)


if __name__ == "__main__":
    main()
