"""The words of the command. It knows their bounds; what goes together is the rules' business (`run`)."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, get_args

from pydantic import BaseModel

from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.contract.run_config import Parallelism, PipelineSchedule, Training
from deepseek_workloads.plan.accelerators import ACCELERATORS, accelerator_of
from deepseek_workloads.plan.memory import COMPUTE_BYTES
from deepseek_workloads.plan.pool import GIB, GPU_MEMORY_BYTES, MAX_GPUS
from deepseek_workloads.plan.presets import PRESETS

DEFAULT_SEQUENCE_LENGTH: Final = 4096
_PARALLELISM: Final = "spec.training.parallelism"
# Of a job's fields the argument that stands for it.
ARGUMENTS: Final = {
    "spec.workers.numNodes": "--gpus",
    "spec.workers.nodeSelector[nvidia.com/gpu.product]": "--gpu-product",
    "spec.data.sequenceLength": "--sequence-length",
    "spec.training.microBatchSize": "--micro-batch-size",
    "spec.training.precision": "--precision",
    "spec.training.globalBatchSize": "--global-batch-size",
    "spec.training.optimizer.name": "--optimizer",
    "spec.training.activationCheckpointing": "--activation-checkpointing",
    f"{_PARALLELISM}.zeroStage": "--zero-stage",
    f"{_PARALLELISM}.cpuOffload": "--cpu-offload",
    f"{_PARALLELISM}.dataParallelReplicateDegree": "--data-parallel-replicate",
    f"{_PARALLELISM}.expertParallelDegree": "--expert-parallel",
    f"{_PARALLELISM}.tensorParallelDegree": "--tensor-parallel",
    f"{_PARALLELISM}.pipelineParallelDegree": "--pipeline-parallel",
    f"{_PARALLELISM}.pipelineParallelSchedule": "--pipeline-schedule",
    f"{_PARALLELISM}.contextParallelDegree": "--context-parallel",
}
# Least and most of each number, as the API of a job has them; of GPUs the nodes and the processes of one.
BOUNDS: Final = {
    "--gpus": (1, MAX_GPUS),
    "--sequence-length": (2, 1_048_576),
    "--micro-batch-size": (1, 65_536),
    "--global-batch-size": (1, 1_048_576),
    "--data-parallel-replicate": (1, 4096),
    "--expert-parallel": (1, 4096),
    "--tensor-parallel": (1, 4096),
    "--pipeline-parallel": (1, 4096),
    "--context-parallel": (1, 4096),
}


@dataclass(frozen=True)
class Asked:
    presets: tuple[str, ...]  # empty: all, or hugging_face
    settings: tuple[str, ...]  # FIELD=VALUE, of the architecture
    hugging_face: str | None  # path of a config.json
    sequence_length: int | None  # None: DEFAULT_SEQUENCE_LENGTH, or fewer where a model has fewer positions
    micro_batch_size: int
    gpus: int
    zero_stage: int
    precision: str
    gpu_memory: float | None  # GiB
    gpu_product: str | None
    data_parallel_replicate: int
    expert_parallel: int
    tensor_parallel: int
    pipeline_parallel: int
    pipeline_schedule: str
    context_parallel: int
    cpu_offload: bool
    optimizer: str
    activation_checkpointing: str
    global_batch_size: int | None  # None: of a few passes of each rank
    json: bool

    @property
    def named(self) -> bool:
        """Whether it is about models that are named; else about every preset."""
        return bool(self.presets) or self.hugging_face is not None

    @property
    def gpu_memory_bytes(self) -> int:
        """Of one GPU."""
        if self.gpu_memory is not None:
            return int(self.gpu_memory * GIB)
        gpu = accelerator_of(self.gpu_product or "")
        return gpu.memory_bytes if gpu else GPU_MEMORY_BYTES


def parse(argv: Sequence[str], *, description: str | None) -> Asked:
    """Exits with a usage message where the words are not understood. Raises ValueError for a number out of
    its bounds, and for words of which one would be passed over."""
    words = vars(_parser(description).parse_args(argv))
    asked = Asked(presets=tuple(words.pop("presets")), settings=tuple(words.pop("set")), **words)
    for argument, (least, most) in BOUNDS.items():
        value = words[argument.removeprefix("--").replace("-", "_")]
        if value is not None and not least <= value <= most:
            raise ValueError(
                f"{argument} {value}: must be at least {least} and at most {most}, as a job's; "
                f"use {least if value < least else most}"
            )
    memory = asked.gpu_memory
    if memory is not None and not (isfinite(memory * GIB) and memory > 0):
        raise ValueError(
            f"--gpu-memory {memory:g}: must be a finite number above 0, the GiB of a GPU; use "
            f"{GPU_MEMORY_BYTES // GIB}, or --gpu-product in its place"
        )
    if asked.hugging_face is not None and (asked.presets or asked.settings):
        other = f"preset {asked.presets[0]}" if asked.presets else f"--set {asked.settings[0]}"
        raise ValueError(
            f"--hugging-face {asked.hugging_face}: stands in place of presets, and {other} is given; leave "
            "one of the two away"
        )
    return asked


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deepseek_workloads.plan",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("presets", nargs="*", metavar="PRESET", help=", ".join(PRESETS))
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of spec.model.architecture, e.g. numHiddenLayers=6",
    )
    add("--hugging-face", metavar="CONFIG_JSON", help="of a folder of another maker, in place of presets")
    add(
        "--sequence-length",
        type=int,
        help=f"at most a model's positions; {DEFAULT_SEQUENCE_LENGTH}, or those if they are fewer",
    )
    add("--micro-batch-size", type=int, default=1, help="sequences of a pass")
    add("--gpus", type=int, default=8, help="ranks of the layout whose memory is shown")
    add("--zero-stage", type=int, choices=(0, 1, 2, 3), default=3)
    add("--precision", choices=tuple(COMPUTE_BYTES), default="bf16")
    add("--gpu-memory", type=float, help="GiB of a GPU; without it, of --gpu-product, or 80")
    add(
        "--gpu-product",
        choices=[known.name for known in ACCELERATORS],
        help="adds estimated tokens a second",
    )
    _add_parallelism(parser)
    _add_training(parser)
    add("--json", action="store_true", help="numbers, for programs")
    return parser


def _add_parallelism(parser: argparse.ArgumentParser) -> None:
    degrees = parser.add_argument_group("layout", "as spec.training.parallelism: docs/parallelism.md")
    what = {
        "--data-parallel-replicate": "copies of the shards",
        "--expert-parallel": "GPUs that share a layer's experts, of those of the other degrees",
        "--tensor-parallel": "GPUs that share each matrix",
        "--pipeline-parallel": "GPUs through which the layers are spread",
        "--context-parallel": "GPUs that share each sequence",
    }
    for argument, meaning in what.items():
        degrees.add_argument(argument, type=int, default=1, metavar="DEGREE", help=meaning)
    schedules, schedule = get_args(PipelineSchedule), Parallelism().pipeline_parallel_schedule
    degrees.add_argument("--pipeline-schedule", choices=schedules, default=schedule)
    degrees.add_argument("--cpu-offload", action="store_true", help="shards lie in the host's memory")


def _add_training(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training", "as spec.training: docs/training.md")
    training.add_argument("--optimizer", choices=_choices(Optimizer, "name"), default="adamw")
    kept = _choices(Training, "activation_checkpointing")
    training.add_argument("--activation-checkpointing", choices=kept, default="none")
    training.add_argument(
        "--global-batch-size",
        type=int,
        metavar="SEQUENCES",
        help="of a step; without it two passes a rank, times the degree of the pipeline",
    )


def _choices(model: type[BaseModel], field: str) -> tuple[str, ...]:
    """The words that a run config takes there."""
    return get_args(model.model_fields[field].annotation)
