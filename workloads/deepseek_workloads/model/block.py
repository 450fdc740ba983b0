"""One decoder layer: attention, then a dense network or a mixture of experts, each behind a norm.

It is the unit that `train.parallelise` shards.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.contract.architecture import Dropout as DropoutRates
from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.dropout import AFTER_ATTENTION, AFTER_NETWORK, Dropout
from deepseek_workloads.model.dropout import ATTENTION as ATTENTION_WEIGHTS
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.gated_latent import GatedLatentAttention
from deepseek_workloads.model.gated_query import GatedQueryAttention
from deepseek_workloads.model.grouped_query import GroupedQueryAttention
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.losses import summed
from deepseek_workloads.model.lsh import LSHAttention
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.router import Router
from deepseek_workloads.model.sliding_window import SlidingWindowAttention
from deepseek_workloads.model.sparse_latent import SparseLatentAttention
from deepseek_workloads.model.swiglu import swiglu

ATTENTION: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        "mla": MultiHeadLatentAttention,
        "gqa": GroupedQueryAttention,
        "slidingWindow": SlidingWindowAttention,
        "lsh": LSHAttention,
    }
)

GATED_ATTENTION: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"mla": GatedLatentAttention, "gqa": GatedQueryAttention}
)


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

    def __init__(self, moe: MoE, *, hidden: int) -> None:
        super().__init__()
        self.gate = Router(moe, hidden=hidden)
        self.experts = RoutedExperts(moe, hidden=hidden)
        self.shared_experts = (
            FeedForward(hidden, moe.moe_intermediate_size * moe.n_shared_experts)
            if moe.n_shared_experts
            else None
        )

    def forward(self, hidden: Tensor) -> LayerOutput:
        routing = self.gate(hidden)
        beside: list[Tensor] = []

        def meanwhile() -> None:
            if self.shared_experts is not None:
                beside.append(self.shared_experts(hidden))

        tokens = hidden.flatten(0, 1)
        mixed = self.experts(tokens, routing.chosen, routing.weights, routing.kept, meanwhile)
        mixed = sum(beside, start=mixed.view_as(hidden))
        return LayerOutput(mixed, routing.losses, routing.counts, routing.dropped)


class DecoderLayer(nn.Module):
    """Layer `index` of an architecture; the first `first_k_dense_replace` are dense."""

    def __init__(self, architecture: Architecture, index: int) -> None:
        super().__init__()
        size, eps = architecture.hidden_size, architecture.rms_norm_eps
        moe = architecture.mixture_of(index)
        self.self_attn = _attention(architecture)(architecture)
        self.mlp: FeedForward | MixtureOfExperts
        if moe is None:
            self.mlp = FeedForward(size, architecture.intermediate_size)
        else:
            self.mlp = MixtureOfExperts(moe, hidden=size)
        self.input_layernorm = RMSNorm(size, eps=eps)
        self.post_attention_layernorm = RMSNorm(size, eps=eps)
        rates = architecture.dropout or DropoutRates()
        self.self_attn.dropout = Dropout(rates.attention, layer=index, place=ATTENTION_WEIGHTS)
        self.dropouts = nn.ModuleList(
            Dropout(rates.residual, layer=index, place=place) for place in (AFTER_ATTENTION, AFTER_NETWORK)
        )

    def forward(self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None) -> LayerOutput:
        """`hidden` [B, T, H]; `rotation` as `rope.rotations` makes it; the cache grows."""
        attended = _reported(self.self_attn(self.input_layernorm(hidden), rotation, cache))
        after_attention, after_network = self.dropouts
        hidden = hidden + after_attention(attended.hidden)
        output = _reported(self.mlp(self.post_attention_layernorm(hidden)))
        losses = summed(part.losses for part in (attended, output) if part.losses)
        return output._replace(hidden=hidden + after_network(output.hidden), losses=losses or None)


def _attention(architecture: Architecture) -> type[nn.Module]:
    if architecture.indexer is not None:
        return SparseLatentAttention
    kinds = ATTENTION if architecture.attention.head_gate is None else GATED_ATTENTION
    return kinds[architecture.attention.kind]


def _reported(output: Tensor | LayerOutput) -> LayerOutput:
    return output if isinstance(output, LayerOutput) else LayerOutput(output)
