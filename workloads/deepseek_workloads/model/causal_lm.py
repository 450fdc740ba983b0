"""The whole model: tokens in, logits or the parts of the training loss out.

It knows neither optimizers nor ranks; first weights are made by `initialize`, Hugging Face's names by
`hugging_face`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.attention import Cache
from deepseek_workloads.model.block import DecoderLayer, MixtureOfExperts
from deepseek_workloads.model.head import LanguageModelHead
from deepseek_workloads.model.initialize import initialize
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.rope import rotations, rotations_at


class LossParts(NamedTuple):
    """Of one pass; a tuple, so that hooks of sharded modules find its tensors."""

    loss: Tensor  # lm_loss + balance_loss: what is differentiated
    lm_loss: Tensor  # nats a token, the mean over the pass; detached
    balance_loss: Tensor  # weighted sum over the layers; detached
    tokens: int  # predicted
    expert_counts: Tensor  # int64 [mixture layers, E]; to be summed over passes and ranks


class HiddenStates(NamedTuple):
    last: Tensor  # [B, T, H], normed
    balance_loss: Tensor | None
    expert_counts: list[Tensor]


class DeepseekV3Model(nn.Module):
    """Embedding, layers, last norm."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.embed_tokens = nn.Embedding(architecture.vocab_size, architecture.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(architecture, index) for index in range(architecture.num_hidden_layers)
        )
        self.norm = RMSNorm(architecture.hidden_size, eps=architecture.rms_norm_eps)

    def forward(
        self, input_ids: Tensor, *, start: int | Tensor = 0, caches: Sequence[Cache] | None = None
    ) -> HiddenStates:
        """`input_ids` int64 [B, T] at positions `start`, `start + 1`, ... (int64 [B]: each row from its own);
        `caches` hold those before."""
        hidden = self.embed_tokens(input_ids)
        rotation = self._rotation(start, length=input_ids.shape[1], like=hidden)
        balance_loss: Tensor | None = None
        counts = []
        for index, layer in enumerate(self.layers):
            output = layer(hidden, rotation, caches[index] if caches is not None else None)
            hidden = output.hidden
            if output.expert_counts is not None:
                counts.append(output.expert_counts)
                part = output.balance_loss
                balance_loss = part if balance_loss is None else balance_loss + part
        return HiddenStates(self.norm(hidden), balance_loss, counts)

    def _rotation(self, start: int | Tensor, *, length: int, like: Tensor) -> Tensor:
        if isinstance(start, Tensor):
            positions = start.unsqueeze(1) + torch.arange(length, device=like.device)
            return rotations_at(self.architecture, positions, dtype=like.dtype)
        return rotations(self.architecture, start=start, length=length, dtype=like.dtype, device=like.device)


class DeepseekV3ForCausalLM(nn.Module):
    """Call it for logits, or through `loss` for training; both run the hooks of wrappers and shards."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = DeepseekV3Model(architecture)
        self.lm_head = LanguageModelHead(architecture.hidden_size, architecture.vocab_size)
        if architecture.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        start: int | Tensor = 0,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor | LossParts:
        """`input_ids` int64 [B, T] -> logits [B, T, V], or LossParts with `labels` int64 [B, T], shifted."""
        hidden, balance_loss, counts = self.model(input_ids, start=start, caches=caches)
        if labels is None:
            logits: Tensor = self.lm_head(hidden)
            return logits
        lm_loss = self.lm_head(hidden, labels)
        balance = lm_loss.new_zeros(()) if balance_loss is None else balance_loss
        experts = self.architecture.moe.n_routed_experts
        return LossParts(
            loss=lm_loss + balance,
            lm_loss=lm_loss.detach(),
            balance_loss=balance.detach(),
            tokens=labels.numel(),
            expert_counts=torch.stack(counts)
            if counts
            else torch.zeros(0, experts, dtype=torch.int64, device=labels.device),
        )

    def loss(self, input_ids: Tensor) -> LossParts:
        """`input_ids` int64 [B, T+1]: each token but the first is predicted from those before it."""
        parts: LossParts = self(input_ids[:, :-1], input_ids[:, 1:])
        return parts

    def init_weights(self, seed: int) -> None:
        """Deterministic in `seed` whatever the device, the sharding and the number of ranks."""
        initialize(self, seed=seed, std=self.architecture.initializer_range)

    def mixtures(self) -> list[MixtureOfExperts]:
        """In the order of `LossParts.expert_counts`."""
        return [layer.mlp for layer in self.model.layers if isinstance(layer.mlp, MixtureOfExperts)]

    def update_router_bias(self, expert_counts: Tensor) -> None:
        """After an optimizer step. `expert_counts` [mixture layers, E]: the sum over the passes and the ranks
        of the global batch, the same on every rank."""
        for mixture, counts in zip(self.mixtures(), expert_counts.unbind(), strict=True):
            mixture.gate.update_bias(counts)
