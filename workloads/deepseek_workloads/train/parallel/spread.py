"""A model with every plan of a layout applied: slices first, then shards, and only then memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.model.block import MixtureOfExperts
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.pipeline import stages
from deepseek_workloads.train.parallel.context import ContextShard, share_sequences
from deepseek_workloads.train.parallel.expert import share_experts
from deepseek_workloads.train.parallel.meshes import Meshes
from deepseek_workloads.train.parallel.shard import sharding_of
from deepseek_workloads.train.parallel.stage import EmbeddingCopies, StageModule, copies_embedding, prune
from deepseek_workloads.train.parallel.tensor import slice_matrices

if TYPE_CHECKING:
    from deepseek_workloads.train.parallel.pipeline import Pipeline

Adapt = Callable[[DeepseekV3ForCausalLM], None]


@dataclass(frozen=True)
class Spread:
    """Of one rank."""

    model: DeepseekV3ForCausalLM
    context: ContextShard | None
    pipeline: "Pipeline | None"
    mixture_layers: tuple[int, ...]  # of the whole model


def spread_model(
    architecture: Architecture,
    parallelism: Parallelism,
    *,
    compute: torch.dtype | None,
    meshes: Meshes,
    device: torch.device,
    adapt: Adapt = lambda _model: None,
) -> Spread:
    """Made without memory first, so that no rank ever holds the whole model. Tied weights would be untied by
    that, so such a model is made whole. `adapt` sees it before anything of it is cut."""
    layout, tied = meshes.layout, architecture.tie_word_embeddings
    with device if tied else torch.device("meta"):
        model = DeepseekV3ForCausalLM(architecture)
    adapt(model)
    mixtures = mixture_layers(model)
    context = ContextShard(meshes.context) if layout.context > 1 else None
    pipeline = (
        _pipeline(model, parallelism, meshes, context, compute, device) if layout.pipeline > 1 else None
    )
    share_sequences(model, meshes.context)
    if layout.tensor > 1 or layout.expert > 1:
        share_experts(model, meshes)
    slice_matrices(model, meshes)
    sharding = sharding_of(parallelism, meshes, compute=compute)
    if pipeline is None:
        sharding.apply(model, model.layers())
    else:
        for module in pipeline.modules:
            sharding.apply(module, module.take(model))
    if not tied:
        model.to_empty(device="cpu" if parallelism.cpu_offload else device)
    if pipeline is not None:
        pipeline.copies = _embedding_copies(model, pipeline)
    return Spread(model, context, pipeline, mixtures)


def mixture_layers(model: DeepseekV3ForCausalLM) -> tuple[int, ...]:
    """Places among `layers()`, in the order of `LossParts.expert_counts`."""
    return tuple(i for i, layer in enumerate(model.layers()) if isinstance(layer.mlp, MixtureOfExperts))


def _embedding_copies(model: DeepseekV3ForCausalLM, pipeline: "Pipeline") -> EmbeddingCopies | None:
    """On the ranks of the first and the last stage, where both use the embedding."""
    me = pipeline.group.rank()
    ends = [pipeline.stages[0].rank, pipeline.stages[-1].rank]
    if not copies_embedding(model.architecture) or me not in ends:
        return None
    (peer,) = [rank for rank in ends if rank != me]
    return EmbeddingCopies(model.model.embed_tokens, pipeline.group, peer)


def _pipeline(
    model: DeepseekV3ForCausalLM,
    parallelism: Parallelism,
    meshes: Meshes,
    context: ContextShard | None,
    compute: torch.dtype | None,
    device: torch.device,
) -> "Pipeline":
    """Prunes `model` to this rank's stages; their modules take its parts when these are in their slices."""
    # Torch's schedules bring its compiler with them: half a second of a start that has no pipeline.
    from deepseek_workloads.train.parallel.pipeline import Pipeline

    schedule = parallelism.pipeline_parallel_schedule
    every = stages(len(model.model.layers), ranks=meshes.layout.pipeline, schedule=schedule)
    own = [stage for stage in every if stage.rank == meshes.place.pipeline]
    dtype = compute or next(model.parameters()).dtype
    prune(model, own)
    return Pipeline(
        group=meshes.pipeline,
        stages=every,
        modules=[StageModule(stage, context=context) for stage in own],
        schedule=schedule,
        hidden_size=model.architecture.hidden_size,
        dtype=dtype,
        device=device,
    )
