"""A dataset of conversations, and runs that learn its answers."""

import json
from pathlib import Path
from typing import Any

from training_cases import ARCHITECTURE, run_config

from deepseek_workloads.contract.run_config import DatasetRun, TrainingRun
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.store.open import open_store

CHATS = 64
TEXT = "user: What comes after one? assistant: It is two.\n"
WIDE = ARCHITECTURE.model_copy(update={"vocab_size": 320})
FAR = WIDE.model_copy(update={"max_position_embeddings": 256})


def dataset(folder: Path, name: str, **changes: object) -> str:
    run = DatasetRun.model_validate(
        {
            "owner": {"namespace": "tests", "name": name, "uid": name},
            "raw_storage": {"uri": f"file://{folder}/raw-{name}"},
            "workers": {"num_nodes": 1},
            "storage": {"uri": f"file://{folder}/{name}"},
            "held_out_fraction": 0.2,
            "raw_sources": [{"name": name, "uri": f"file://{folder}/raw-{name}"}],
            **changes,
        }
    )
    verdict = prepare(run, open_store=open_store, executor=LocalExecutor(threads=1), report=lambda _: None)
    assert verdict.outcome == "Succeeded", verdict.message
    return run.storage.uri


def write_chats(folder: Path) -> str:
    """Short conversations, prepared. Returns the URI of the dataset."""
    (folder / "raw-text").mkdir()
    (folder / "raw-chat").mkdir()
    for number in range(20):
        (folder / "raw-text" / f"{number}.txt").write_text(TEXT * 2 + str(number))
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"{number}?"},
                {"role": "assistant", "content": "yes" if number % 2 else "no, never"},
            ]
        }
        for number in range(CHATS)
    ]
    (folder / "raw-chat" / "0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = dataset(folder, "text", tokenizer={"vocab_size": 300})
    source = {"name": "chat", "uri": f"file://{folder}/raw-chat", "format": "chat"}
    return dataset(folder, "chat", raw_sources=[source], tokenizer_uri=f"{text}/manifest.json")


def fine_tuning(folder: Path, chats: str, name: str, *, world_size: int = 1, **changes: Any) -> TrainingRun:
    run = run_config(
        f"file://{folder}/{name}",
        chats,
        world_size=world_size,
        objective="sft",
        **{"architecture": WIDE, **changes},
    )
    return run.model_copy(update={"data": run.data.model_copy(update={"sequence_length": 63})})


def bucketed(run: TrainingRun) -> TrainingRun:
    """The longest conversation has some 40 tokens."""
    return run.model_copy(
        update={"data": run.data.model_copy(update={"packing": "bucketed", "sequence_length": 255})}
    )
