"""Tensor parallelism: attention heads, the width of feed-forward networks, and the vocabulary in slices.

What has no slices (norms, latent projections, the router) every rank of the group computes alike, so that its
gradients are alike too. Routed experts are shared by tokens instead (`train.parallel.expert`).
"""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)

from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.block import FeedForward
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import LanguageModelHead
from deepseek_workloads.train.parallel.collectives import copied
from deepseek_workloads.train.parallel.kinds import become
from deepseek_workloads.train.parallel.meshes import Meshes
from deepseek_workloads.train.parallel.vocabulary import VocabularyParallelHead


def slice_matrices(model: DeepseekV3ForCausalLM, meshes: Meshes) -> None:
    """In place. `plan.layout_rules` has seen that the degree divides heads, widths and vocabulary."""
    if meshes.layout.tensor == 1:
        return
    for module in list(model.modules()):
        if isinstance(module, MultiHeadLatentAttention):
            _slice_heads(module, meshes)
        elif isinstance(module, FeedForward):
            _parallelize(
                module,
                meshes,
                gate_proj=ColwiseParallel(),
                up_proj=ColwiseParallel(),
                down_proj=RowwiseParallel(),
            )
    _slice_vocabulary(model, meshes)


def _slice_heads(attention: MultiHeadLatentAttention, meshes: Meshes) -> None:
    queries = "q_b_proj" if attention.low_rank_queries else "q_proj"
    plan: dict[str, ParallelStyle] = {
        queries: ColwiseParallel(),
        "kv_b_proj": ColwiseParallel(),
        "o_proj": RowwiseParallel(),
    }
    _parallelize(attention, meshes, **plan)
    attention.heads //= meshes.layout.tensor
    group, latent = meshes.tensor.get_group(), attention.latent

    def share_rotary_part(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        """All heads of all ranks use the rotary part of the keys as it is; the latents pass a sliced matrix,
        which sums their gradients itself."""
        return torch.cat([output[..., :latent], copied(output[..., latent:], group)], dim=-1)

    attention.kv_a_proj_with_mqa.register_forward_hook(share_rotary_part)


def _slice_vocabulary(model: DeepseekV3ForCausalLM, meshes: Meshes) -> None:
    """Of what this rank's stages have."""
    if isinstance(model.model.embed_tokens, nn.Embedding):
        _parallelize(model.model, meshes, embed_tokens=RowwiseParallel(input_layouts=Replicate()))
        if model.architecture.tie_word_embeddings:
            model.lm_head.weight = model.model.embed_tokens.weight
    if isinstance(model.lm_head, LanguageModelHead):
        become(model.lm_head, VocabularyParallelHead).share(meshes.tensor)


def _parallelize(module: nn.Module, meshes: Meshes, **plan: ParallelStyle) -> None:
    parallelize_module(module, meshes.tensor, plan, src_data_rank=None)
