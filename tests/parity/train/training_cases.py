"""Small real runs of the training loop, and ways to run and disturb them. Spawned ranks import it by name."""

import contextlib
import io
import json
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from tokenizers import Tokenizer, models

from deepseek_workloads.contract.architecture import Architecture, MoE, Vision
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import log_key
from deepseek_workloads.contract.messages import Control, Verdict
from deepseek_workloads.contract.records import CheckpointRecord, DatasetManifest, Shard, SplitStatistics
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, LogEntry, Writer
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.context import TrainContext, join_torch_group
from deepseek_workloads.train.loop import train
from deepseek_workloads.train.monitor import LocalMonitor

VOCABULARY = 64
GROUP_SECONDS = 900  # until ranks count as stuck
ARCHITECTURE = Architecture(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    max_position_embeddings=64,
    moe=MoE(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, first_k_dense_replace=1),
)

SEEING = ARCHITECTURE.model_copy(
    update={
        "vision": Vision(
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
            image_token_id=2,
        )
    }
)


def write_dataset(root: Path, *, factor: int = 5, vocabulary: int = VOCABULARY) -> str:
    """Tokens that follow each other by a rule with noise, so that a model can learn them. Returns its URI."""
    store = FileObjectStore(root / "dataset")
    tokenizer = Tokenizer(models.WordLevel({f"t{number}": number for number in range(vocabulary)}, "t0"))
    content = tokenizer.to_str().encode()
    store.put("tokenizer.json", content)
    manifest = DatasetManifest(
        tokenizer_key="tokenizer.json",
        tokenizer_digest=sha256_digest(content),
        vocab_size=vocabulary,
        eos_token_id=0,
        train=[
            _shard(store, "data/train-0", 4096, seed=1, factor=factor),
            _shard(store, "data/train-1", 2048, seed=2, factor=factor),
        ],
        held_out=[_shard(store, "data/held-out", 512, seed=3, factor=factor)],
        statistics={
            "train": SplitStatistics(documents=2, tokens=6144, bytes=12288),
            "heldOut": SplitStatistics(documents=1, tokens=512, bytes=1024, unigram_bits_per_byte=3.0),
        },
    )
    store.put("manifest.json", manifest.to_json())
    return store.uri


def cut_into_documents(dataset: str, *, every: int) -> None:
    """What `write_dataset` wrote then has documents of so many tokens."""
    store = open_store(Storage(uri=dataset), environ={})
    manifest = load_manifest(store, None)
    splits = {}
    for split in ("train", "held_out"):
        shards = []
        for shard in getattr(manifest, split):
            starts = np.arange(0, shard.tokens, every, dtype="<u8")
            store.put(shard.document_offsets_key, starts.tobytes())
            update = {
                "documents": len(starts),
                "document_offsets_checksum": object_checksum(starts.tobytes()),
            }
            shards.append(shard.model_copy(update=update))
        splits[split] = shards
    store.put("manifest.json", manifest.model_copy(update=splits).to_json())


def _shard(store: ObjectStore, name: str, tokens: int, *, seed: int, factor: int) -> Shard:
    generator = np.random.default_rng(seed)
    ids = np.zeros(tokens, dtype=np.uint16)
    for position in range(1, tokens):
        noise = generator.integers(0, 3)
        ids[position] = 1 + (int(ids[position - 1]) * factor + 7 + noise) % (VOCABULARY - 1)
    content = ids.tobytes()
    store.put(name, content)
    return Shard(
        key=name,
        dtype="uint16",
        tokens=tokens,
        documents=1,
        size=len(content),
        chunk_tokens=256,
        chunk_checksums=[chunk_checksum(content[at : at + 512]) for at in range(0, len(content), 512)],
        document_offsets_key=f"{name}.offsets",
        document_offsets_checksum=object_checksum(b""),
    )


def run_config(
    storage: str,
    dataset: str,
    *,
    world_size: int = 1,
    steps: int = 6,
    checkpoint_every: int = 2,
    keep_last: int = 3,
    mode: str = "async",
    architecture: Architecture = ARCHITECTURE,
    init_from: dict[str, str] | None = None,
    memory_bytes: int | None = None,
    **training: Any,
) -> TrainingRun:
    return TrainingRun.model_validate(
        {
            "owner": {"namespace": "tests", "name": "run", "uid": "0000"},
            "architecture": architecture,
            "init_from": init_from,
            "data": {
                "sources": [{"name": "rule", "storage": {"uri": dataset}}],
                "sequence_length": 16,
                "seed": 5,
            },
            "training": {
                "steps": steps,
                "global_batch_size": 8,
                "optimizer": {"learning_rate": 3e-3},
                "schedule": {"warmup_steps": 2},
                **training,
            },
            "checkpoint": {"every_steps": checkpoint_every, "keep_last": keep_last, "mode": mode},
            "evaluation": {"max_samples": 8, "prompts": ["t1 t2"]},
            "workers": {"num_nodes": world_size, "memory_bytes": memory_bytes},
            "storage": {"uri": storage},
        }
    )


@dataclass(frozen=True)
class StepLine:
    epoch: int
    step: int
    loss: float
    sample_ids: tuple[int, ...]


def metric_lines(storage: str) -> list[dict[str, Any]]:
    """Of all epochs, in their order."""
    store = open_store(Storage(uri=storage), environ={})
    documents = [store.read(info.key) for info in store.list("runs/") if info.key.endswith(".jsonl")]
    return [json.loads(line) for document in documents for line in document.splitlines()]


def step_lines(storage: str) -> list[StepLine]:
    return [
        StepLine(line["epoch"], line["step"], line["loss"], tuple(line["sampleIds"]))
        for line in metric_lines(storage)
        if "sampleIds" in line
    ]


def samples(storage: str) -> dict[int, list[dict[str, str]]]:
    """Prompts and continuations by step."""
    return {line["step"]: line["samples"] for line in metric_lines(storage) if "samples" in line}


def final_curve(storage: str) -> dict[int, tuple[float, tuple[int, ...]]]:
    """By step the loss and the samples of the newest epoch that took it."""
    return {line.step: (line.loss, line.sample_ids) for line in step_lines(storage)}


def log_entries(storage: str) -> list[LogEntry]:
    return CommitLog(open_store(Storage(uri=storage), environ={})).records()


def begin_epoch(log: CommitLog) -> Writer:
    return log.begin_epoch(run_config_digest="sha256:" + "0" * 64)


def train_alone(
    run: TrainingRun,
    *,
    monitor: LocalMonitor | None = None,
    wrap: Callable[[ObjectStore], ObjectStore] = lambda store: store,
    draining: Callable[[], bool] = lambda: False,
    rank: int = 0,
    world_size: int = 1,
    join_group: Any = join_torch_group,
) -> Verdict:
    """In this process. `wrap` is put around the job's own store."""

    def opened(storage: Storage) -> ObjectStore:
        store = open_store(storage, environ={})
        return wrap(store) if storage == run.storage else store

    context = TrainContext(
        rank=rank,
        world_size=world_size,
        local_rank=rank,
        open_store=opened,
        begin_epoch=begin_epoch,
        monitor=monitor or LocalMonitor(Control()),
        draining=draining,
        join_group=join_group,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return train(run, context)


def train_group(runs: Sequence[TrainingRun], folder: Path) -> list[Verdict]:
    """Each run, one after another, on as many gloo ranks as it asks for (the same number each)."""
    (world_size,) = {run.workers.world_size for run in runs}
    folder.mkdir(parents=True, exist_ok=True)
    documents = [run.to_json() for run in runs]
    spawn = get_context("spawn")
    ranks = [
        spawn.Process(target=_rank, args=(rank, world_size, str(folder), documents))
        for rank in range(world_size)
    ]
    for process in ranks:
        process.start()
    deadline = time.monotonic() + GROUP_SECONDS
    for process in ranks:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    errors = "\n".join(path.read_text() for path in sorted(folder.glob("error-*")))
    assert codes == [0] * world_size, f"exit codes {codes}: {errors}"
    lines = (folder / "verdicts").read_text().splitlines()
    return [Verdict.model_validate_json(line) for line in lines]


def _rank(rank: int, world_size: int, folder: str, documents: Sequence[bytes]) -> None:
    torch.set_num_threads(1)
    try:
        rendezvous = f"file://{folder}/rendezvous"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world_size)
        verdicts = [
            train_alone(TrainingRun.model_validate_json(document), rank=rank, world_size=world_size)
            for document in documents
        ]
        if rank == 0:
            lines = "\n".join(verdict.to_json().decode() for verdict in verdicts)
            Path(folder, "verdicts").write_text(lines)
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        Path(folder, f"error-{rank}").write_text(traceback.format_exc())
        raise


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class KillingStore:
    """Kills the process at the call with number `at`, before or after it took effect; counts from 0."""

    def __init__(self, store: ObjectStore, *, at: int, after: bool) -> None:
        self._store, self._at, self._after = store, at, after
        self._lock = threading.Lock()
        self._calls = 0

    @property
    def killed(self) -> bool:
        return self._calls > self._at

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        return self._watched(attribute) if callable(attribute) and name != "close" else attribute

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._lock:
                number = self._calls
                self._calls += 1
            if number > self._at or (number == self._at and not self._after):
                raise Killed
            result = method(*arguments)
            if number == self._at:
                raise Killed
            return result

        return call


class MonitorAt(LocalMonitor):
    """Calls `then` once the rank has taken step `step`."""

    def __init__(self, step: int, then: Callable[["MonitorAt"], None]) -> None:
        super().__init__(Control())
        self._at, self._then = step, then

    def heartbeat(self, step: int) -> None:
        super().heartbeat(step)
        if step == self._at:
            self._then(self)


def rewound(source: str, target: str, *, to_step: int) -> None:
    """A copy of a run's storage as it was after the checkpoint of `to_step`."""
    shutil.copytree(source.removeprefix("file://"), target.removeprefix("file://"))
    store = open_store(Storage(uri=target), environ={})
    last = max(
        entry.index
        for entry in log_entries(target)
        if isinstance(entry.record, CheckpointRecord) and entry.record.step == to_step
    )
    store.delete([log_key(entry.index) for entry in log_entries(target)[last:]])
    store.delete([info.key for info in store.list("runs/")])
