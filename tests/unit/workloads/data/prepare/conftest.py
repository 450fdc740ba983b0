"""Raw objects and dataset runs over a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import (
    DatasetRun,
    Owner,
    RawSource,
    Storage,
    TokenizerTraining,
    Workers,
)
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare as run_preparation
from deepseek_workloads.store.open import open_store

ENGLISH = "The operator watches the job, and the job watches its loss. It went down {n} times in {m} days.\n"
CHINESE = "操作员观察任务，任务观察它的损失。第{n}天，损失下降了{m}次。\n"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """raw/notes/*.txt (60 texts) and raw/pages.jsonl (120 records in two languages, some repeated)."""
    folder = tmp_path / "raw"
    (folder / "notes").mkdir(parents=True)
    for number in range(60):
        (folder / "notes" / f"{number:03d}.txt").write_text(ENGLISH.format(n=number, m=number * 7) * 3)
    texts = [CHINESE.format(n=number % 100, m=number % 100 * 3) for number in range(120)]
    lines = [json.dumps({"text": text, "language": "zh"}, ensure_ascii=False) for text in texts]
    (folder / "pages.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def make_run(tmp_path: Path, raw: Path) -> Callable[..., DatasetRun]:
    def make(**changes: Any) -> DatasetRun:
        settings: dict[str, Any] = {
            "owner": Owner(namespace="research", name="docs", uid="uid-1"),
            "raw_sources": [
                RawSource(name="notes", uri=f"file://{raw}/notes", include=["*.txt"]),
                RawSource(name="pages", uri=f"file://{raw}", format="jsonl", include=["*.jsonl"]),
            ],
            "raw_storage": Storage(uri=f"file://{raw}"),
            "tokenizer": TokenizerTraining(vocab_size=320),
            "held_out_fraction": 0.2,
            "shard_tokens": 1024,
            "workers": Workers(num_nodes=1),
            "storage": Storage(uri=f"file://{tmp_path}/out"),
        }
        return DatasetRun(**(settings | changes))

    return make


@pytest.fixture
def prepare() -> Callable[[DatasetRun], Verdict]:
    def prepare(dataset_run: DatasetRun, *, threads: int = 1) -> Verdict:
        return run_preparation(
            dataset_run,
            open_store=open_store,
            executor=LocalExecutor(threads=threads),
            report=lambda _: None,
        )

    return prepare
