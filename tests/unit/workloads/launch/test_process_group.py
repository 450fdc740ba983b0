"""By what the ranks of a run talk to each other."""

import pytest

from deepseek_workloads.contract.run_config import (
    Data,
    Owner,
    Parallelism,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.launch.process_group import backend_of
from deepseek_workloads.plan.presets import PRESETS


@pytest.mark.parametrize(
    ("gpus", "cpu_offload", "backend"),
    [(0, False, "gloo"), (1, False, "nccl"), (1, True, "cpu:gloo,cuda:nccl")],
)
def test_tensors_in_the_hosts_memory_travel_too(gpus: int, cpu_offload: bool, backend: str) -> None:
    layout, storage = Parallelism(zero_stage=3, cpu_offload=cpu_offload), Storage(uri="s3://models/tiny")
    run = TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=512),
        training=Training(steps=100, global_batch_size=8, parallelism=layout),
        workers=Workers(num_nodes=2, gpus_per_node=gpus),
        storage=storage,
    )
    assert backend_of(run) == backend
