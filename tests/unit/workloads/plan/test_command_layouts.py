"""Every layout that the command takes has the figures, and the refusals, of a job with it."""

import json
from typing import Any, get_args

import pytest

from deepseek_operator.api.training import Parallelism, Training
from deepseek_operator.api.training_data import Data
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.api.training_job_status import PlanStatus
from deepseek_operator.resources.quantity import format_bytes
from deepseek_operator.status.training_job import build_plan
from deepseek_operator.validation.training_job import training_run_of, validate_training_job
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import PipelineSchedule
from deepseek_workloads.plan.__main__ import main
from deepseek_workloads.plan.command.arguments import ARGUMENTS, BOUNDS

Captured = pytest.CaptureFixture[str]


def row_of(capsys: Captured, *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == ExitCode.DONE
    (row,) = json.loads(capsys.readouterr().out)
    return row


def status_plan(training: dict[str, Any]) -> PlanStatus:
    """Of a job of deepseek-v3-1b on 8 H100."""
    planned = {
        "globalBatchSize": 16,
        "microBatchSize": 1,
        "tokens": 10**9,
        "precision": "bf16",
        "parallelism": {"zeroStage": 3},
    }
    spec = {
        "model": {"preset": "deepseek-v3-1b"},
        "data": {"sources": [{"name": "docs", "uri": "s3://corpus/docs"}], "sequenceLength": 2048},
        "training": planned | training,
        "workers": {
            "numProcPerNode": 8,
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            "resources": {"gpu": 8, "memory": "512Gi"},
        },
        "storage": {"uri": "s3://models/planned", "secretRef": {"name": "s3"}},
    }
    metadata = {"name": "planned", "namespace": "research", "uid": "u"}
    job = DeepSeekTrainingJob.model_validate({"metadata": metadata, "spec": spec})
    assert validate_training_job(job, worker_image="ours") == []
    return build_plan(training_run_of(job, datasets={}))


# Of each its arguments, and what a job's spec.training says in their place.
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("", {}),
    "one pass": ("--global-batch-size 8", {"globalBatchSize": 8}),
    "unsharded": ("--zero-stage 0", {"parallelism": {"zeroStage": 0}}),
    "copies": (
        "--data-parallel-replicate 2",
        {"parallelism": {"zeroStage": 3, "dataParallelReplicateDegree": 2}},
    ),
    "experts": ("--expert-parallel 8", {"parallelism": {"zeroStage": 3, "expertParallelDegree": 8}}),
    "tensor": ("--tensor-parallel 4", {"parallelism": {"zeroStage": 3, "tensorParallelDegree": 4}}),
    "context": ("--context-parallel 2", {"parallelism": {"zeroStage": 3, "contextParallelDegree": 2}}),
    "pipeline": (
        "--pipeline-parallel 2 --pipeline-schedule Interleaved1F1B",
        {
            "parallelism": {
                "zeroStage": 3,
                "pipelineParallelDegree": 2,
                "pipelineParallelSchedule": "Interleaved1F1B",
            }
        },
    ),
    "offloaded": ("--cpu-offload", {"parallelism": {"zeroStage": 3, "cpuOffload": True}}),
    "muon": ("--optimizer muon", {"optimizer": {"name": "muon"}}),
    "recomputed pipeline": (
        "--pipeline-parallel 2 --activation-checkpointing full",
        {"parallelism": {"zeroStage": 3, "pipelineParallelDegree": 2}, "activationCheckpointing": "full"},
    ),
    "recomputed": ("--activation-checkpointing full", {"activationCheckpointing": "full"}),
}
ASKED = (
    *("deepseek-v3-1b", "--gpus", "8", "--gpu-product", "H100"),
    *("--sequence-length", "2048", "--global-batch-size", "16"),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_figures_of_a_layout_are_those_of_the_status_of_its_job(layout: str, capsys: Captured) -> None:
    arguments, training = LAYOUTS[layout]
    plan = status_plan(training)

    row = row_of(capsys, *ASKED, *arguments.split())

    assert plan.estimated_tokens_per_second is not None
    assert row["parameters"] == plan.parameters
    assert row["activeParameters"] == plan.active_parameters
    assert row["flopsPerToken"] == plan.flops_per_token
    assert format_bytes(row["memoryPerRank"]) == plan.memory_per_rank
    assert row["smallestGpuPool"] == plan.smallest_gpu_pool
    assert 8 * row["estimatedTokensPerSecondAndGpu"] == pytest.approx(plan.estimated_tokens_per_second, abs=8)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "plain"])
def test_each_layout_has_another_figure_than_the_plain_one(layout: str, capsys: Captured) -> None:
    def figures(name: str) -> tuple[int, ...]:
        row = row_of(capsys, *ASKED, *LAYOUTS[name][0].split())
        return row["memoryPerRank"], row["hostMemoryPerRank"], row["estimatedTokensPerSecondAndGpu"]

    assert figures(layout) != figures("plain")


@pytest.mark.parametrize("schedule", get_args(PipelineSchedule))
@pytest.mark.parametrize("ranks", [2, 4])
def test_without_a_batch_a_pipeline_has_passes_enough_for_its_schedule(
    schedule: str, ranks: int, capsys: Captured
) -> None:
    degree = ["--pipeline-parallel", str(ranks), "--pipeline-schedule", schedule]

    assert main(["deepseek-v3-1b", *degree]) == ExitCode.DONE, capsys.readouterr().err


PUBLISHED = (  # of DeepSeek-V3, arXiv:2412.19437
    *("deepseek-v3", "--gpus", "2048", "--gpu-product", "H800", "--zero-stage", "1"),
    *("--expert-parallel", "64", "--pipeline-parallel", "16"),
)


def test_tokens_a_second_of_gpus_that_a_layout_does_not_fit_are_marked(capsys: Captured) -> None:
    assert main([*PUBLISHED, "--activation-checkpointing", "full"]) == ExitCode.DONE
    assert capsys.readouterr().err == ""

    assert main(PUBLISHED) == ExitCode.DONE

    (remark,) = capsys.readouterr().err.splitlines()
    assert remark.startswith("deepseek-v3: a rank needs ")
    assert "more than GPUs of 80 GiB have" in remark
    assert "no job would reach its tokens/s/GPU" in remark


def test_shards_of_cpu_offload_are_in_a_column_of_their_own(capsys: Captured) -> None:
    row = row_of(capsys, "deepseek-v3-1b", "--cpu-offload")
    assert row["hostMemoryPerRank"] >= 16 * row["parameters"] / 8  # float32: weight, gradient, two moments

    assert main(["deepseek-v3-1b", "--cpu-offload"]) == ExitCode.DONE

    common, columns, _ = capsys.readouterr().out.splitlines()
    assert "cpuOffload" in common
    assert "host/rank" in columns


def test_the_table_says_of_which_layout_it_is(capsys: Captured) -> None:
    layout = "--tensor-parallel 2 --pipeline-parallel 2 --context-parallel 2 --data-parallel-replicate 2"
    trained = "--gpus 32 --expert-parallel 4 --optimizer amf --global-batch-size 64"
    assert main(["deepseek-v3-16b", *layout.split(), *trained.split()]) == ExitCode.DONE

    common = capsys.readouterr().out.splitlines()[0]
    for words in (
        "64 sequences a step",
        "a rank of 32",
        "tensorParallelDegree 2",
        "pipelineParallelDegree 2, ",
        "pipelineParallelSchedule 1F1B",
        "contextParallelDegree 2",
        "dataParallelReplicateDegree 2",
        "expertParallelDegree 4",
        "optimizer amf",
    ):
        assert words in common


@pytest.mark.parametrize(
    ("arguments", "named", "rule", "remedy"),
    [
        ("--tensor-parallel 3 --gpus 6", "--tensor-parallel", "must divide numAttentionHeads (4)", "2 or 4"),
        ("--tensor-parallel 2 --gpus 3", "parallelism: tensorParallelDegree 2", "the 3 processes", "1 or 3"),
        ("--pipeline-parallel 8", "--pipeline-parallel", "the model has 4", "use at most 4"),
        ("--context-parallel 3 --gpus 3", "--context-parallel", "twice the degree (6)", "use sequenceLength"),
        ("--cpu-offload --gpus 1", "--cpu-offload", "needs zeroStage 1, 2 or 3", "use false"),
        ("--cpu-offload --zero-stage 0", "--cpu-offload", "not zeroStage 0", "use false"),
        (
            "--activation-checkpointing full --pipeline-parallel 2 --pipeline-schedule DualPipeV",
            "--pipeline-schedule",
            "must be 1F1B or Interleaved1F1B with training.activationCheckpointing (full)",
            "use Interleaved1F1B",
        ),
        (
            "--precision fp8 --tensor-parallel 2",
            "--tensor-parallel",
            "training.precision (fp8)",
            "use tensor",
        ),
        ("--global-batch-size 12", "--global-batch-size", "the data-parallel size 8", "use 8 or 16"),
        (
            "--data-parallel-replicate 2 --zero-stage 0",
            "--data-parallel-replicate",
            "zeroStage 0 has none",
            "use 1",
        ),
        ("--micro-batch-size 3 --global-batch-size 8", "--micro-batch-size", "must divide the 1", "use 1"),
    ],
)
def test_a_layout_that_a_job_would_be_refused_is_refused(
    arguments: str, named: str, rule: str, remedy: str, capsys: Captured
) -> None:
    assert main(["deepseek-v3-tiny", *arguments.split()]) == ExitCode.BAD_INPUT

    told = capsys.readouterr()
    assert told.out == ""
    for words in (named, rule, remedy):
        assert words in told.err


def test_the_bounds_of_arguments_are_those_of_the_fields_of_a_job() -> None:
    schemas = {
        "spec.training.parallelism": Parallelism,
        "spec.training": Training,
        "spec.data": Data,
    }
    checked = set()
    for field, argument in ARGUMENTS.items():
        parent, _, name = field.rpartition(".")
        if argument in BOUNDS and parent in schemas:
            schema = schemas[parent].model_json_schema()["properties"][name]
            limits = next(each for each in (schema, *schema.get("anyOf", ())) if "minimum" in each)
            assert BOUNDS[argument] == (limits["minimum"], limits["maximum"])
            checked.add(argument)
    assert checked == BOUNDS.keys() - {"--gpus"}
