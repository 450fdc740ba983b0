"""Runs of both kinds, small and valid."""

import pytest

from deepseek_workloads.contract.run_config import (
    Data,
    DatasetRun,
    Owner,
    RawSource,
    RunPolicy,
    Source,
    Storage,
    TokenizerTraining,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.presets import PRESETS

OWNER = Owner(namespace="research", name="tiny", uid="uid-1")
STORAGE = Storage(uri="s3://models/tiny")


@pytest.fixture
def training_run() -> TrainingRun:
    return TrainingRun(
        owner=OWNER,
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=64),
        training=Training(steps=10, global_batch_size=4),
        workers=Workers(num_nodes=2, num_proc_per_node=4, cpus_per_node=8, gpus_per_node=4),
        storage=STORAGE,
        run_policy=RunPolicy(drain_seconds=17),
    )


@pytest.fixture
def dataset_run() -> DatasetRun:
    return DatasetRun(
        owner=OWNER,
        raw_sources=[RawSource(name="docs", uri="s3://raw/docs")],
        raw_storage=Storage(uri="s3://raw"),
        tokenizer=TokenizerTraining(vocab_size=512),
        workers=Workers(num_nodes=1, cpus_per_node=2.5),
        storage=STORAGE,
    )
