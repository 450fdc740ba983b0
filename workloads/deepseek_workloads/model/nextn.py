"""Multi-token prediction (DeepSeek-V3, arXiv:2412.19437, 2.2): a layer that looks one token further ahead.

Module k joins what is known of token i with the embedding of token i + k and predicts token i + k + 1, by the
model's own embedding and head. It knows neither of these nor the loss.
"""

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.block import DecoderLayer
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.norm import RMSNorm


class SharedHead(nn.Module):
    """The norm before the head; the head itself is the model's."""

    def __init__(self, hidden: int, *, eps: float) -> None:
        super().__init__()
        self.norm = RMSNorm(hidden, eps=eps)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(hidden)
        return normed


class NextTokenLayer(DecoderLayer):
    """Names and order of concatenation as in the published weights: the embedding first."""

    def __init__(self, architecture: Architecture, index: int) -> None:
        super().__init__(architecture, architecture.num_hidden_layers + index)
        size, eps = architecture.hidden_size, architecture.rms_norm_eps
        self.enorm = RMSNorm(size, eps=eps)
        self.hnorm = RMSNorm(size, eps=eps)
        self.eh_proj = nn.Linear(2 * size, size, bias=False)
        self.shared_head = SharedHead(size, eps=eps)

    def forward(
        self,
        hidden: Tensor,
        rotation: Tensor,
        cache: Cache | None = None,
        embedded: Tensor | None = None,
    ) -> LayerOutput:
        """`hidden` [B, T, H] of the module before (for the first: of the model, normed), `embedded` [B, T, H]
        of the tokens that it is to take in -> [B, T, H], plain for the next module, normed for the head."""
        assert embedded is not None
        joined = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], dim=-1))
        output = super().forward(joined, rotation, cache)
        return output._replace(normed=self.shared_head(output.hidden))
