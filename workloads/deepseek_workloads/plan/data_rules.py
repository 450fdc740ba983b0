"""Rules of the order of samples: of a schedule of weights, and of what is skipped. Pure."""

from collections.abc import Iterator
from itertools import pairwise

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.layout_rules import INVALID_PARALLELISM
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem
from deepseek_workloads.plan.training_rules import mixes_conversations


def mixture(run: TrainingRun) -> Iterator[Problem]:
    names = [source.name for source in run.data.sources]
    stages = run.data.mixture or []
    for index, stage in enumerate(stages):
        field = f"spec.data.mixture.schedule[{index}]"
        unknown = sorted(stage.weights.keys() - set(names))
        if unknown:
            yield Problem(
                field=f"{field}.weights",
                value=", ".join(unknown),
                rule=f"must name sources of the job: {', '.join(names)}",
                remedy="correct the name, or add the source to spec.data.sources",
                reason=INVALID_TRAINING,
            )
        if min(stage.weights.values()) < 0 or sum(stage.weights.values()) <= 0:
            yield Problem(
                field=f"{field}.weights",
                value=", ".join(f"{name} {weight:g}" for name, weight in stage.weights.items()),
                rule="must be 0 or more each, and one of them above 0",
                remedy="give a weight to one source; one that is not named is left out",
                reason=INVALID_TRAINING,
            )
    for index, (before, after) in enumerate(pairwise(stages), start=1):
        if after.at_sample <= before.at_sample:
            yield Problem(
                field=f"spec.data.mixture.schedule[{index}]",
                value=f"sample {after.at_sample}",
                rule=f"must begin after the stage before it, which begins at sample {before.at_sample}",
                remedy="order the stages by where they begin",
                reason=INVALID_TRAINING,
            )


def packing(run: TrainingRun) -> Iterator[Problem]:
    """What pads: no token may be lost in, nor any loss depend on, how far a row is filled up."""
    if run.data.packing is None:
        return
    a = run.architecture
    mixes = {
        f"objective {run.training.objective}, whose text is running": run.training.objective != "sft",
        "attention.kind lsh, whose buckets hold padding, too": a.attention.kind == "lsh",
        "an indexer, whose loss is of padding, too": a.indexer is not None,
        "attention.headGate, whose penalty is of padding, too": a.attention.head_gate is not None,
        "moe.expertCapacityFactor, by which padding takes room": (
            a.moe is not None and a.moe.expert_capacity_factor is not None
        ),
    }
    for reason in (reason for reason, found in mixes.items() if found):
        yield Problem(
            field="spec.data.packing",
            value=run.data.packing,
            rule=f"does not go with {reason}",
            remedy="use packing packed, or leave the other away"
            if run.training.objective == "sft"
            else "leave it away, or use objective sft with a dataset of conversations",
            reason=INVALID_TRAINING,
        )


def long_conversations(run: TrainingRun) -> Iterator[Problem]:
    if run.data.long_conversations is not None and run.training.objective != "sft":
        yield Problem(
            field="spec.data.longConversations",
            value=run.data.long_conversations,
            rule=f"belongs to objective sft: with {run.training.objective} text is running, and no "
            "document is cut",
            remedy="leave it away, or use objective sft with a dataset of conversations",
            reason=INVALID_TRAINING,
        )


def capacity_of_documents(run: TrainingRun) -> Iterator[Problem]:
    """Conversations and documents of one row would take room from those behind them."""
    moe, apart = run.architecture.moe, run.masks_documents
    if apart and moe is not None and moe.expert_capacity_factor is not None:
        yield Problem(
            field="spec.model.architecture.moe.expertCapacityFactor",
            value=f"{moe.expert_capacity_factor:g}",
            rule="counts the tokens of a whole sequence: with objective sft or documentMask, which keep its "
            "documents apart, one would take the room of another",
            remedy="leave it away, or use objective pretrain without documentMask",
            reason=INVALID_TRAINING,
        )


def document_mask(run: TrainingRun) -> Iterator[Problem]:
    """As of objective sft (`training_rules`): the mask is of whole rows, and of one micro-batch."""
    if not run.data.document_mask or run.training.objective == "sft":
        return
    p = run.training.parallelism
    degrees = {
        "tensorParallelDegree": p.tensor_parallel_degree,
        "pipelineParallelDegree": p.pipeline_parallel_degree,
        "contextParallelDegree": p.context_parallel_degree,
    }
    for degree, value in degrees.items():
        if value > 1:
            yield Problem(
                field=f"spec.training.parallelism.{degree}",
                value=str(value),
                rule="must be 1 with data.documentMask (true)",
                remedy=f"use {degree} 1, or leave documentMask away",
                reason=INVALID_PARALLELISM,
            )
    kind = mixes_conversations(run.architecture)
    own = run.model_function or run.training.entrypoint  # then the built-in attention is not used
    if kind is not None and own is None:
        yield Problem(
            field="spec.data.documentMask",
            value="true",
            rule=f"does not go with attention {kind}, which would mix the documents of a sequence",
            remedy="use a model of attention.kind mla without an indexer, or leave documentMask away",
            reason=INVALID_TRAINING,
        )


def skip(run: TrainingRun) -> Iterator[Problem]:
    for index, (before, after) in enumerate(pairwise(run.data.skip or []), start=1):
        if after.from_sample < before.to_sample:
            yield Problem(
                field=f"spec.data.skip[{index}].fromSample",
                value=str(after.from_sample),
                rule=f"must not be below toSample of the range before it, {before.to_sample}",
                remedy="order the ranges by fromSample, and join those that overlap",
                reason=INVALID_TRAINING,
            )
