"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, 2.1) with decoupled rotary positions.

It knows one layer: positions come as rotations, earlier tokens as a cache of latents.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.batch_cache import BatchCache
from deepseek_workloads.model.caches import Cache, SharedSequence
from deepseek_workloads.model.causal import attend_in_spans
from deepseek_workloads.model.document_attention import attend_within_documents
from deepseek_workloads.model.documents import DocumentMask
from deepseek_workloads.model.dropout import Dropout
from deepseek_workloads.model.dropped_attention import attend_with_dropout
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.rope import rotate, softmax_scale

LATENT_NORM_EPS = 1e-6  # the published model does not use rms_norm_eps here


class MultiHeadLatentAttention(nn.Module):
    """Causal self-attention whose keys and values are projected up from one small latent a token."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.heads = a.num_attention_heads
        self.nope, self.rope, self.value = a.qk_nope_head_dim, a.qk_rope_head_dim, a.v_head_dim
        self.latent = a.kv_lora_rank
        self.scale = softmax_scale(a)
        self.documents = DocumentMask()  # the model's, once it is part of one
        self.dropout: Dropout | None = None  # of weights; the layer's
        queries = self.heads * (self.nope + self.rope)
        if a.q_lora_rank is None:
            self.q_proj = nn.Linear(a.hidden_size, queries, bias=False)
        else:
            self.q_a_proj = nn.Linear(a.hidden_size, a.q_lora_rank, bias=a.attention_bias)
            self.q_a_layernorm = RMSNorm(a.q_lora_rank, eps=LATENT_NORM_EPS)
            self.q_b_proj = nn.Linear(a.q_lora_rank, queries, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(a.hidden_size, self.latent + self.rope, bias=a.attention_bias)
        self.kv_a_layernorm = RMSNorm(self.latent, eps=LATENT_NORM_EPS)
        self.kv_b_proj = nn.Linear(self.latent, self.heads * (self.nope + self.value), bias=False)
        self.o_proj = nn.Linear(self.heads * self.value, a.hidden_size, bias=a.attention_bias)
        self.low_rank_queries = a.q_lora_rank is not None

    def forward(self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None) -> Tensor:
        """`hidden` [B, T, H] -> [B, T, H]; `rotation` complex [T, qk_rope_head_dim / 2], or [B, T, ...]."""
        queries = self._queries(self._compressed(hidden), rotation)
        latents, rotated = self._latents(hidden, rotation)
        if isinstance(cache, BatchCache):
            attended = self._attend_to_latents(queries, cache.extend(latents, rotated), cache.mask)
        else:
            if cache is not None:
                latents, rotated = cache.extend(latents, rotated)
            keys, values = self._keys_and_values(latents, rotated)
            attended = self._attend(queries, keys, values, cache).flatten(-2)
        projected: Tensor = self.o_proj(attended)
        return projected

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, cache: Cache | None) -> Tensor:
        """[B, T, A, D], [B, S, A, D], [B, S, A, value] -> [B, T, A, value]."""
        several = cache is None and self.documents.several
        if self.dropout is not None and self.dropout.active:
            allowed = self.documents.allowed(queries.shape[1]) if several else None
            return attend_with_dropout(
                queries, keys, values, dropout=self.dropout, scale=self.scale, mask=allowed
            )
        if several:
            return attend_within_documents(queries, keys, values, documents=self.documents, scale=self.scale)
        spans = cache.spans(queries.shape[1], keys.shape[1]) if isinstance(cache, SharedSequence) else None
        return attend_in_spans(queries, keys, values, spans=spans, scale=self.scale)

    def _compressed(self, hidden: Tensor) -> Tensor:
        """[B, T, H] -> what queries are projected from: [B, T, q_lora_rank], or without one as it is."""
        compressed: Tensor = self.q_a_layernorm(self.q_a_proj(hidden)) if self.low_rank_queries else hidden
        return compressed

    def _latents(self, hidden: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, H] -> [B, T, R] and [B, T, P]."""
        latents, rotated = self.kv_a_proj_with_mqa(hidden).split([self.latent, self.rope], dim=-1)
        return self.kv_a_layernorm(latents), rotate(rotated.unsqueeze(2), rotation).squeeze(2)

    def _queries(self, compressed: Tensor, rotation: Tensor) -> Tensor:
        """-> [B, T, A, D]."""
        projected = self.q_b_proj(compressed) if self.low_rank_queries else self.q_proj(compressed)
        plain, rotary = projected.unflatten(-1, (self.heads, -1)).split([self.nope, self.rope], dim=-1)
        return torch.cat([plain, rotate(rotary, rotation)], dim=-1)

    def _keys_and_values(
        self, latents: Tensor, rotated: Tensor, *, heads: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """[B, S, R] and [B, S, P] -> keys [B, S, A, D] (the rotary part is one for all heads) and values; of
        the `heads` int64 [A] only, where given."""
        # Training may have put something around the product, and of that nothing is known but the whole.
        adapted = "forward" in vars(self.kv_b_proj)
        if heads is None or adapted:
            expanded = self.kv_b_proj(latents).unflatten(-1, (self.heads, -1))
            expanded = expanded if heads is None else expanded[:, :, heads]
        else:
            of_heads = F.linear(latents, self._up()[heads].flatten(0, 1))
            expanded = of_heads.view(*latents.shape[:2], len(heads), -1)
        plain, values = expanded.split([self.nope, self.value], dim=-1)
        shared = rotated.unsqueeze(2).expand(-1, -1, expanded.shape[2], -1)
        return torch.cat([plain, shared.to(plain.dtype)], dim=-1), values

    def _up(self) -> Tensor:
        """What projects latents up to keys and values, [A, nope + value, R]."""
        return self.kv_b_proj.weight.view(self.heads, self.nope + self.value, self.latent)

    def _attend_to_latents(
        self, queries: Tensor, states: Tensor, mask: Tensor, *, heads: Tensor | None = None
    ) -> Tensor:
        """[B, 1, A, D], states [B, S, R + P], bool `mask` [B, S] -> [B, 1, A * value]; `queries` are of the
        `heads` int64 [A], where given.

        What projects latents up to keys and values is applied to queries and results instead: the same
        products in another order (2.1.2 of the paper), at a cost that does not grow with heads times S.
        """
        up = self._up() if heads is None else self._up()[heads]
        to_keys, to_values = up[:, : self.nope], up[:, self.nope :]
        plain, rotary = queries[:, 0, :, : self.nope], queries[:, 0, :, self.nope :]
        folded = torch.cat([torch.einsum("ban,anr->bar", plain, to_keys), rotary], dim=-1)
        exact = torch.promote_types(states.dtype, torch.float32)
        scores = (folded @ states.transpose(1, 2)).to(exact) * self.scale  # [B, A, S]
        weights = scores.masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(-1).to(states.dtype)
        mixed = weights @ states[..., : self.latent]  # [B, A, R]
        return torch.einsum("bar,avr->bav", mixed, to_values).flatten(-2).unsqueeze(1)
