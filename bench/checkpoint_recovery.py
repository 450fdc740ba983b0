"""From the kill of a training process to the next step of its successor, with checkpoints in S3.

`launch.local` trains a small DeepSeek model whose state has the size that is asked for; it is killed when a
checkpoint is durable and started again at once: Python and torch start, the state is loaded and verified, and
one step is taken. Without Kubernetes; `bench/recovery.py` has the platform around it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import Point, emit, say
from tokenizers import Tokenizer, models

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import DatasetManifest, Shard, SplitStatistics
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from local_object_store import Server

_VOCABULARY = 1024
_CHUNK_TOKENS = 4096
_HIDDEN = 1024
_DEADLINE_SECONDS = 600.0


def measure_recovery(folder: Path, server: Server, *, bucket: str, megabytes: int, runs: int) -> None:
    storage = Storage(uri=f"s3://{bucket}/data", endpoint_url=server.endpoint_url)
    store = open_store(storage, environ=server.environ)
    _write_dataset(store)
    store.close()
    run = _run(storage, Storage(uri=f"s3://{bucket}/run", endpoint_url=server.endpoint_url), megabytes)
    config = folder / "run.json"
    config.write_bytes(run.to_json())
    process = _start(config, server)
    seconds = []
    for number in range(runs):
        _await(process, "checkpoint")
        process.kill()
        killed = time.monotonic()
        process.wait()
        process = _start(config, server)
        _await(process, "step")
        seconds.append(time.monotonic() - killed)
        say(f"killed, round {number + 1} of {runs}: {seconds[-1]:.1f} s to the next step")
    process.kill()
    process.wait()
    emit(Point("checkpoint", "kill-to-next-step", seconds, "s"))


def _start(config: Path, server: Server) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deepseek_workloads.launch.local", f"--run-config={config}"],
        env={**os.environ, **server.environ},
        stdout=subprocess.PIPE,
        text=True,
    )


def _await(process: subprocess.Popen[str], event: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    for fields in _lines(process):
        if fields.get("event") == event:
            return
        if time.monotonic() > deadline:
            break
    raise TimeoutError(f"no {event} within {_DEADLINE_SECONDS:.0f} s, or the process has ended")


def _lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def _run(data: Storage, storage: Storage, megabytes: int) -> TrainingRun:
    per_layer = 12 * 4 * _HIDDEN * _HIDDEN * 2  # about: bytes of state of attention and network
    return TrainingRun.model_validate(
        {
            "owner": {"namespace": "bench", "name": "recovery", "uid": "0"},
            "architecture": Architecture(
                vocab_size=_VOCABULARY,
                hidden_size=_HIDDEN,
                intermediate_size=2 * _HIDDEN,
                num_hidden_layers=max(1, round(megabytes * 1e6 / per_layer)),
                num_attention_heads=8,
                q_lora_rank=128,
                kv_lora_rank=128,
                qk_nope_head_dim=64,
                qk_rope_head_dim=32,
                v_head_dim=64,
                max_position_embeddings=128,
            ),
            "data": {
                "sources": [{"name": "noise", "storage": data}],
                "sequence_length": 64,
            },
            "training": {"steps": 1_000_000, "global_batch_size": 1},
            "checkpoint": {"every_steps": 10, "keep_last": 2, "mode": "async"},
            "workers": {"num_nodes": 1, "cpus_per_node": os.cpu_count() or 1},
            "storage": storage,
        }
    )


def _write_dataset(store: ObjectStore) -> None:
    tokenizer = Tokenizer(models.WordLevel({f"t{number}": number for number in range(_VOCABULARY)}, "t0"))
    content = tokenizer.to_str().encode()
    store.put("tokenizer.json", content)
    manifest = DatasetManifest(
        tokenizer_key="tokenizer.json",
        tokenizer_digest=sha256_digest(content),
        vocab_size=_VOCABULARY,
        eos_token_id=0,
        train=[_shard(store, "data/train", 128 * _CHUNK_TOKENS)],
        held_out=[_shard(store, "data/held-out", _CHUNK_TOKENS)],
        statistics={
            "heldOut": SplitStatistics(
                documents=1, tokens=_CHUNK_TOKENS, bytes=_CHUNK_TOKENS, unigram_bits_per_byte=10.0
            )
        },
    )
    store.put("manifest.json", manifest.to_json())


def _shard(store: ObjectStore, name: str, tokens: int) -> Shard:
    content = np.random.default_rng(0).integers(0, _VOCABULARY, tokens, dtype=np.uint16).tobytes()
    store.put(name, content)
    step = 2 * _CHUNK_TOKENS
    return Shard(
        key=name,
        dtype="uint16",
        tokens=tokens,
        documents=1,
        size=len(content),
        chunk_tokens=_CHUNK_TOKENS,
        chunk_checksums=[chunk_checksum(content[at : at + step]) for at in range(0, len(content), step)],
        document_offsets_key=f"{name}.offsets",
        document_offsets_checksum=object_checksum(b""),
    )
