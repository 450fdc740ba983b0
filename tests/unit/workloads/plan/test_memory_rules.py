"""A run whose states cannot fit its workers is refused before a GPU is taken."""

import pytest

from deepseek_workloads.contract.architecture import Architecture
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
from deepseek_workloads.plan.memory_rules import INSUFFICIENT_MEMORY, check_memory
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_training

GIB = 2**30


def run(
    preset: str = "deepseek-v3", *, parallelism: Parallelism | None = None, **workers: object
) -> TrainingRun:
    storage = Storage(uri="s3://models/run")
    architecture: Architecture = PRESETS[preset]
    layout = parallelism or Parallelism(zero_stage=3)
    return TrainingRun(
        owner=Owner(namespace="research", name="run", uid="u"),
        architecture=architecture,
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=4096),
        training=Training(steps=10, global_batch_size=64, precision="bf16", parallelism=layout),
        workers=Workers.model_validate(
            {"num_nodes": 1, "num_proc_per_node": 8, "gpus_per_node": 8, **workers}
        ),
        storage=storage,
    )


def test_deepseek_v3_does_not_fit_eight_gpus() -> None:
    (problem,) = check_memory(run(gpu_product="NVIDIA-H100-80GB-HBM3"))

    assert problem.reason == INSUFFICIENT_MEMORY
    assert problem.value == "NVIDIA-H100-80GB-HBM3"
    assert "expertParallelDegree" in problem.remedy


def test_of_gpus_that_nobody_names_the_largest_decides() -> None:
    (problem,) = check_memory(run())

    assert "the largest GPU has 288.0 GiB" in problem.rule
    assert check_memory(run("deepseek-v3-16b", num_proc_per_node=1, gpus_per_node=1)) == []


def test_a_model_that_fits_the_gpu_is_not_refused() -> None:
    assert check_memory(run("deepseek-v3-16b", gpu_product="NVIDIA-H100-80GB-HBM3")) == []


def test_offloaded_shards_need_the_memory_of_the_pod() -> None:
    offloading = Parallelism(zero_stage=3, cpu_offload=True)

    (problem,) = check_memory(run("deepseek-v3-16b", parallelism=offloading, memory_bytes=8 * GIB))

    assert problem.field == "spec.workers.resources.memory"
    assert "cpuOffload" in problem.rule
    assert check_memory(run("deepseek-v3-16b", parallelism=offloading, memory_bytes=512 * GIB)) == []


@pytest.mark.parametrize(("product", "refused"), [("NVIDIA-A100-SXM4-80GB", True), ("NVIDIA-H200", False)])
def test_float8_needs_a_gpu_that_multiplies_it(product: str, refused: bool) -> None:
    asked = run("deepseek-v3-16b", gpu_product=product)
    training = asked.training.model_copy(update={"precision": "fp8"})

    problems = check_training(asked.model_copy(update={"training": training}))

    assert any(problem.field == "spec.training.precision" for problem in problems) == refused
