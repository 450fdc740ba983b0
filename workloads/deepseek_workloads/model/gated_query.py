"""Grouped-query attention whose heads have gates (`head_gates`)."""

from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.batch_cache import BatchCache
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.grouped_query import GroupedQueryAttention
from deepseek_workloads.model.head_gates import Gates, HeadGates
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.open_heads import attend_open


class GatedQueryAttention(GroupedQueryAttention):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.head_gate = HeadGates(architecture)

    def forward(  # type: ignore[override]
        self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None
    ) -> LayerOutput:
        gates: Gates = self.head_gate(hidden)
        queries, keys, values = self._projected(hidden, rotation, cache)
        if isinstance(cache, BatchCache):
            attended = self._of_rows(queries, keys, values, cache.mask, gates)
        elif gates.skipping:
            attended = attend_open(queries, keys, values, is_open=gates.open, scale=self.scale)
        else:
            attended = self.attend(queries, keys, values) * gates.values.unsqueeze(-1)
        return LayerOutput(self.o_proj(attended.flatten(-2)), gates.losses)

    def _of_rows(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, gates: Gates) -> Tensor:
        """One new token a row, [B, 1, A, D] -> [B, 1, A, D]; of the heads that a row opens."""
        heads = gates.open_heads
        attended = queries.new_zeros(*queries.shape[:3], values.shape[-1])
        if len(heads):
            of_heads = keys[:, :, heads], values[:, :, heads]
            attended[:, :, heads] = self._attend_to_rows(queries[:, :, heads], *of_heads, mask)
        return attended * gates.values.unsqueeze(-1)
