"""One decoder layer: attention, then a dense network or a mixture of experts, each behind a norm.

It is the unit that `train.parallelise` shards.
"""

from typing import NamedTuple

from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.attention import Cache, MultiHeadLatentAttention
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.router import Router
from deepseek_workloads.model.swiglu import swiglu


class LayerOutput(NamedTuple):
    """A tuple, so that hooks of sharded modules find its tensors."""

    hidden: Tensor  # [B, T, H]
    balance_loss: Tensor | None = None  # of a mixture
    expert_counts: Tensor | None = None  # int64 [E] of a mixture


class FeedForward(nn.Module):
    """SwiGLU: H -> I -> H."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        projected: Tensor = self.down_proj(swiglu(self.gate_proj(hidden), self.up_proj(hidden)))
        return projected


class MixtureOfExperts(nn.Module):
    """Routed experts beside those that every token passes."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        moe = architecture.moe
        self.gate = Router(architecture)
        self.experts = RoutedExperts(architecture)
        self.shared_experts = (
            FeedForward(architecture.hidden_size, moe.moe_intermediate_size * moe.n_shared_experts)
            if moe.n_shared_experts
            else None
        )

    def forward(self, hidden: Tensor) -> LayerOutput:
        routing = self.gate(hidden)
        mixed = self.experts(hidden.flatten(0, 1), routing.chosen, routing.weights, routing.counts)
        mixed = mixed.view_as(hidden)
        if self.shared_experts is not None:
            mixed = mixed + self.shared_experts(hidden)
        return LayerOutput(mixed, routing.balance_loss, routing.counts)


class DecoderLayer(nn.Module):
    """Layer `index` of an architecture; the first `first_k_dense_replace` are dense."""

    def __init__(self, architecture: Architecture, index: int) -> None:
        super().__init__()
        size, eps = architecture.hidden_size, architecture.rms_norm_eps
        self.self_attn = MultiHeadLatentAttention(architecture)
        self.mlp: FeedForward | MixtureOfExperts
        if index < architecture.moe.first_k_dense_replace:
            self.mlp = FeedForward(size, architecture.intermediate_size)
        else:
            self.mlp = MixtureOfExperts(architecture)
        self.input_layernorm = RMSNorm(size, eps=eps)
        self.post_attention_layernorm = RMSNorm(size, eps=eps)

    def forward(self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None) -> LayerOutput:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), rotation, cache)
        output = self.mlp(self.post_attention_layernorm(hidden))
        if isinstance(output, LayerOutput):
            return output._replace(hidden=hidden + output.hidden)
        return LayerOutput(hidden + output)
