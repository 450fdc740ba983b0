"""Multi-head latent attention to the tokens that an indexer finds relevant (DeepSeek-V3.2, DSA).

The indexer has no gradient from the model's loss: it learns to follow attention's own weights, by their
divergence. In its warm-up stage training attends to everything, so that it sees what it would miss.
"""

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.batch_cache import BatchCache
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.causal import attend_causally, attend_masked
from deepseek_workloads.model.indexer import IndexQueries, LightningIndexer, most_relevant
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.losses import INDEXER_LOSS

_ROWS = 256  # queries at a time: what is held for each of them grows with the sequence


class SparseLatentAttention(MultiHeadLatentAttention):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        settings = architecture.indexer
        assert settings is not None
        self.settings = settings
        self.indexer = LightningIndexer(settings, architecture)

    def forward(  # type: ignore[override]
        self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None
    ) -> LayerOutput:
        """As its base; the cache keeps the indexer's keys behind the rotary part."""
        compressed = self._compressed(hidden)
        queries = self._queries(compressed, rotation)
        latents, rotated = self._latents(hidden, rotation)
        seen_by_indexer = hidden.detach()
        asked = self.indexer.queries(compressed.detach(), seen_by_indexer, rotation)
        index = self.indexer.keys(seen_by_indexer, rotation)
        losses: dict[str, Tensor] | None = None
        if isinstance(cache, BatchCache):
            attended = self._of_rows(queries, asked, cache, latents, torch.cat([rotated, index], dim=-1))
        else:
            if cache is not None:
                latents, behind = cache.extend(latents, torch.cat([rotated, index], dim=-1))
                rotated, index = torch.split(behind, [self.rope, self.indexer.width], dim=-1)
            keys, values = self._keys_and_values(latents, rotated)
            if self.training and torch.is_grad_enabled():
                attended, divergence = self._in_blocks(queries, keys, values, asked, index, learning=True)
                losses = {INDEXER_LOSS: self.settings.loss_weight * divergence}
            elif keys.shape[1] <= self.settings.index_topk:
                attended = attend_causally(queries, keys, values, scale=self.scale)
            else:
                attended, _ = self._in_blocks(queries, keys, values, asked, index, learning=False)
            attended = attended.flatten(-2)
        return LayerOutput(self.o_proj(attended), losses)

    def _of_rows(
        self, queries: Tensor, asked: IndexQueries, cache: BatchCache, latents: Tensor, behind: Tensor
    ) -> Tensor:
        """One new token a row -> [B, 1, A * value]."""
        widths = [self.latent + self.rope, self.indexer.width]
        states, index = torch.split(cache.extend(latents, behind), widths, dim=-1)
        scores = self.indexer.scores(asked, index)
        mask = most_relevant(scores, cache.mask.unsqueeze(1), self.settings.index_topk).squeeze(1)
        return self._attend_to_latents(queries, states, mask)

    def _in_blocks(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        asked: IndexQueries,
        index: Tensor,
        *,
        learning: bool,
    ) -> tuple[Tensor, Tensor]:
        """[B, T, A, value], and the indexer's divergence, the mean over tokens (zero when not `learning`)."""
        new, seen = queries.shape[1], keys.shape[1]
        warming_up = learning and self.settings.stage == "warmup"
        attended, divergence = [], asked.weights.new_zeros(())
        for start in range(0, new, _ROWS):
            stop = min(start + _ROWS, new)
            end = seen - new + stop
            scores = self.indexer.scores(asked.rows(start, stop), index[:, :end])
            mask = torch.ones(stop - start, end, dtype=torch.bool, device=scores.device).tril(
                end - stop + start
            )
            mask = mask.expand_as(scores)
            if not warming_up:
                mask = most_relevant(scores.detach(), mask, self.settings.index_topk)
            part = queries[:, start:stop], keys[:, :end]
            mask_of_heads = mask.unsqueeze(1)
            attended.append(attend_masked(*part, values[:, :end], mask=mask_of_heads, scale=self.scale))
            if learning:
                divergence = divergence + _divergence(self._weights(*part, mask_of_heads), scores, mask)
        return torch.cat(attended, dim=1), divergence / (queries.shape[0] * new)

    @torch.no_grad()
    def _weights(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Attention's own [B, T, S], the mean over its heads."""
        exact = torch.promote_types(queries.dtype, torch.float32)
        scores = torch.einsum("btad,bsad->bats", queries, keys).to(exact) * self.scale
        return scores.masked_fill(~mask, float("-inf")).softmax(-1).mean(1)


def _divergence(weights: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """KL(weights || softmax of scores) over what `mask` [B, T, S] shows, summed over tokens."""
    logarithms = scores.masked_fill(~mask, float("-inf")).log_softmax(-1).masked_fill(~mask, 0)
    return (torch.xlogy(weights, weights) - weights * logarithms).sum()
