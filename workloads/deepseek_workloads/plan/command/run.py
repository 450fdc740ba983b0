"""From what is asked of a model to the run that a job would be, and what a job would be refused.

A job's own rules decide (`rules.check_training`), over a run of which the command is told a part: for the
rest it takes what no rule minds. It knows no figures (`answer`).
"""

from dataclasses import dataclass, replace
from math import gcd

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.accelerators import GPUS_PER_NODE
from deepseek_workloads.plan.command.arguments import ARGUMENTS, DEFAULT_SEQUENCE_LENGTH, Asked
from deepseek_workloads.plan.memory_rules import INSUFFICIENT_MEMORY
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.plan.training_rules import mixes_conversations

_NOWHERE = {"uri": "s3://planned/planned"}
# Of each rank in a step, for each rank of a pipeline: gradients stay from one to the next, as in a job
# that accumulates, and every schedule has enough.
_PASSES = 2


@dataclass(frozen=True)
class Planned:
    run: TrainingRun
    too_large: str  # why a job would be refused for memory; empty: its states fit


class RunRefused(ValueError):
    """What a job would be refused, memory aside: that is what the command is asked for."""

    def __init__(self, problems: list[Problem]) -> None:
        self.reasons = list(map(in_arguments, problems))
        super().__init__("; ".join(self.reasons))


def planned(architecture: Architecture, asked: Asked) -> Planned:
    """Raises RunRefused."""
    run = run_of(architecture, asked)
    problems = check_training(run)
    refused = [problem for problem in problems if problem.reason != INSUFFICIENT_MEMORY]
    if refused:
        raise RunRefused(refused)
    return Planned(run=run, too_large="; ".join(map(in_arguments, problems)))


def in_arguments(problem: Problem) -> str:
    """With the argument of the command beside the field of a job."""
    argument = ARGUMENTS.get(problem.field)
    return str(replace(problem, field=f"{argument} ({problem.field})") if argument else problem)


def sequence_length(architecture: Architecture, asked: Asked) -> int:
    """The length that is asked for, or as much of it as every preset, or a model of which nothing was asked,
    has positions for."""
    length = asked.sequence_length or DEFAULT_SEQUENCE_LENGTH
    if asked.named and asked.sequence_length is not None:
        return length
    return min(length, architecture.max_position_embeddings)


def global_batch_size(asked: Asked) -> int:
    """Sequences of a step."""
    if asked.global_batch_size is not None:
        return asked.global_batch_size
    data = asked.gpus // (asked.tensor_parallel * asked.pipeline_parallel * asked.context_parallel)
    return max(1, data) * asked.micro_batch_size * _PASSES * asked.pipeline_parallel


def run_of(architecture: Architecture, asked: Asked) -> TrainingRun:
    """The training job of one step, on GPUs, whose memory and pace are asked."""
    of_node = asked.gpus if asked.gpus <= GPUS_PER_NODE else gcd(asked.gpus, GPUS_PER_NODE)
    sees = architecture.vision is not None  # then it is trained on conversations, kept apart where it can
    return TrainingRun.model_validate(
        {
            "owner": {"namespace": "planned", "name": "planned", "uid": "planned"},
            "architecture": architecture,
            "data": {
                "sources": [{"name": "planned", "storage": _NOWHERE}],
                "sequence_length": sequence_length(architecture, asked),
                "packing": "bucketed" if sees and mixes_conversations(architecture) else None,
            },
            "training": {
                "objective": "sft" if sees else "pretrain",
                "steps": 1,
                "global_batch_size": global_batch_size(asked),
                "micro_batch_size": asked.micro_batch_size,
                "precision": asked.precision,
                "optimizer": {"name": asked.optimizer},
                "activation_checkpointing": asked.activation_checkpointing,
                "parallelism": _parallelism(asked),
            },
            "workers": {
                "num_nodes": asked.gpus // of_node,
                "num_proc_per_node": of_node,
                "gpus_per_node": of_node,
                "gpu_product": asked.gpu_product,
            },
            "storage": _NOWHERE,
        }
    )


def _parallelism(asked: Asked) -> dict[str, object]:
    return {
        "zero_stage": asked.zero_stage,
        "cpu_offload": asked.cpu_offload,
        "data_parallel_replicate_degree": asked.data_parallel_replicate,
        "expert_parallel_degree": asked.expert_parallel,
        "tensor_parallel_degree": asked.tensor_parallel,
        "pipeline_parallel_degree": asked.pipeline_parallel,
        "pipeline_parallel_schedule": asked.pipeline_schedule,
        "context_parallel_degree": asked.context_parallel,
    }
