"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, 2.1) with decoupled rotary positions.

It knows one layer: positions come as rotations, earlier tokens as a cache of latents.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.batch_cache import BatchCache
from deepseek_workloads.model.chunked_attention import attend_in_chunks
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.rope import rotate, softmax_scale

LATENT_NORM_EPS = 1e-6  # the published model does not use rms_norm_eps here


@dataclass
class LatentCache:
    """What one layer keeps of earlier tokens; grows with each pass that is given it."""

    latents: Tensor | None = None  # [B, S, R]
    rotated: Tensor | None = None  # [B, S, qk_rope_head_dim]

    def extend(self, latents: Tensor, rotated: Tensor) -> tuple[Tensor, Tensor]:
        """Appends the new tokens and returns all of them."""
        if self.latents is not None and self.rotated is not None:
            latents = torch.cat([self.latents, latents], dim=1)
            rotated = torch.cat([self.rotated, rotated], dim=1)
        self.latents, self.rotated = latents, rotated
        return latents, rotated


Cache = LatentCache | BatchCache


class MultiHeadLatentAttention(nn.Module):
    """Causal self-attention whose keys and values are projected up from one small latent a token."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.heads = a.num_attention_heads
        self.nope, self.rope, self.value = a.qk_nope_head_dim, a.qk_rope_head_dim, a.v_head_dim
        self.latent = a.kv_lora_rank
        self.scale = softmax_scale(a)
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
        queries = self._queries(hidden, rotation)
        latents, rotated = self.kv_a_proj_with_mqa(hidden).split([self.latent, self.rope], dim=-1)
        latents = self.kv_a_layernorm(latents)
        rotated = rotate(rotated.unsqueeze(2), rotation).squeeze(2)
        if isinstance(cache, BatchCache):
            attended = self._attend_to_latents(queries, cache.extend(latents, rotated), cache.mask)
        else:
            if cache is not None:
                latents, rotated = cache.extend(latents, rotated)
            attended = self._attend(queries, *self._keys_and_values(latents, rotated))
        projected: Tensor = self.o_proj(attended)
        return projected

    def _queries(self, hidden: Tensor, rotation: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, A, D]."""
        if self.low_rank_queries:
            projected = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(hidden)))
        else:
            projected = self.q_proj(hidden)
        plain, rotary = projected.unflatten(-1, (self.heads, -1)).split([self.nope, self.rope], dim=-1)
        return torch.cat([plain, rotate(rotary, rotation)], dim=-1)

    def _keys_and_values(self, latents: Tensor, rotated: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, R] and [B, S, P] -> keys [B, S, A, D] (the rotary part is one for all heads) and values."""
        expanded = self.kv_b_proj(latents).unflatten(-1, (self.heads, -1))
        plain, values = expanded.split([self.nope, self.value], dim=-1)
        shared = rotated.unsqueeze(2).expand(-1, -1, self.heads, -1)
        return torch.cat([plain, shared.to(plain.dtype)], dim=-1), values

    def _attend_to_latents(self, queries: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """[B, 1, A, D], states [B, S, R + P], bool `mask` [B, S] -> [B, 1, A * value].

        What projects latents up to keys and values is applied to queries and results instead: the same
        products in another order (2.1.2 of the paper), at a cost that does not grow with heads times S.
        """
        up = self.kv_b_proj.weight.view(self.heads, self.nope + self.value, self.latent)
        to_keys, to_values = up[:, : self.nope], up[:, self.nope :]
        plain, rotary = queries[:, 0, :, : self.nope], queries[:, 0, :, self.nope :]
        folded = torch.cat([torch.einsum("ban,anr->bar", plain, to_keys), rotary], dim=-1)
        exact = torch.promote_types(states.dtype, torch.float32)
        scores = (folded @ states.transpose(1, 2)).to(exact) * self.scale  # [B, A, S]
        weights = scores.masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(-1).to(states.dtype)
        mixed = weights @ states[..., : self.latent]  # [B, A, R]
        return torch.einsum("bar,avr->bav", mixed, to_values).flatten(-2).unsqueeze(1)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[B, T, A, D], [B, S, A, D], [B, S, A, value] -> [B, T, A * value].

        A GPU's fused kernels want one width for all three; without it attention would hold T*S weights.
        """
        new, seen = queries.shape[1], keys.shape[1]
        if new == seen and queries.device.type == "cpu":
            query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (queries, keys, values))
            attended = attend_in_chunks(query, key, value, self.scale)
            return attended.view(-1, self.heads, *attended.shape[1:]).transpose(1, 2).flatten(-2)
        width = max(queries.shape[-1], self.value)
        query, key, value = (
            F.pad(part, (0, width - part.shape[-1])).transpose(1, 2) for part in (queries, keys, values)
        )
        mask = None
        if 1 < new < seen:
            mask = torch.ones(new, seen, dtype=torch.bool, device=queries.device).tril(seen - new)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=new == seen,
            scale=self.scale,
        )
        return attended.transpose(1, 2)[..., : self.value].flatten(-2)
