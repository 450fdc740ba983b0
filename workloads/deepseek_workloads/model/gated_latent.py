"""Multi-head latent attention whose heads have gates (`head_gates`)."""

from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.batch_cache import BatchCache
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.head_gates import Gates, HeadGates
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.open_heads import attend_open


class GatedLatentAttention(MultiHeadLatentAttention):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.head_gate = HeadGates(architecture)

    def forward(  # type: ignore[override]
        self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None
    ) -> LayerOutput:
        gates: Gates = self.head_gate(hidden)
        queries = self._queries(self._compressed(hidden), rotation)
        latents, rotated = self._latents(hidden, rotation)
        if isinstance(cache, BatchCache):
            attended = self._of_rows(queries, cache.extend(latents, rotated), cache.mask, gates)
        else:
            if cache is not None:
                latents, rotated = cache.extend(latents, rotated)
            mixed = cache is None and self.documents.several
            if gates.skipping and not mixed:
                attended = self._of_open(queries, latents, rotated, gates)
            else:
                attended = self._attend(queries, *self._keys_and_values(latents, rotated), cache)
                attended = attended * gates.values.unsqueeze(-1)
        return LayerOutput(self.o_proj(attended.flatten(-2)), gates.losses)

    def _of_open(self, queries: Tensor, latents: Tensor, rotated: Tensor, gates: Gates) -> Tensor:
        """[B, T, A, D] -> [B, T, A, value]. Heads that no token opens have no keys and values either."""
        heads = gates.open_heads
        attended = queries.new_zeros(*queries.shape[:3], self.value)
        if len(heads):
            keys, values = self._keys_and_values(latents, rotated, heads=heads)
            attended[:, :, heads] = attend_open(
                queries[:, :, heads], keys, values, is_open=gates.open[:, :, heads], scale=self.scale
            )
        return attended

    def _of_rows(self, queries: Tensor, states: Tensor, mask: Tensor, gates: Gates) -> Tensor:
        """One new token a row, [B, 1, A, D] -> [B, 1, A, value]; of the heads that a row opens."""
        heads = gates.open_heads
        attended = queries.new_zeros(*queries.shape[:3], self.value)
        if len(heads):
            of_heads = self._attend_to_latents(queries[:, :, heads], states, mask, heads=heads)
            attended[:, :, heads] = of_heads.view(*queries.shape[:2], len(heads), self.value)
        return attended * gates.values.unsqueeze(-1)
