"""What the training loop asks of a model, whoever wrote it: ours, or one of a user's image.

It knows no layout, no optimizer and no data.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.documents import DocumentMask
from deepseek_workloads.model.dropout import DropoutStream
from deepseek_workloads.model.images import ImageInputs


class LossParts(NamedTuple):
    """Of one pass; a tuple, so that hooks of sharded modules find its tensors."""

    loss: Tensor  # lm_loss + all of auxiliary: what is differentiated
    lm_loss: Tensor  # nats a token, the mean over the pass; detached
    auxiliary: dict[str, Tensor]  # weighted, by the names of `model.losses`, summed over layers; detached
    tokens: int  # predicted
    expert_counts: Tensor  # int64 [mixture layers, E], choices; to be summed over passes and ranks
    dropped: Tensor  # int64 [mixture layers], choices that no expert had room for


class TrainableModel(nn.Module, ABC):
    """Call it for logits, or with labels for the parts of the loss."""

    architecture: Architecture
    documents: DocumentMask
    images: ImageInputs
    dropout_stream: DropoutStream
    lm_head: nn.Module  # the last that is called, with what it makes logits of

    @abstractmethod
    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        start: int | Tensor = 0,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor | LossParts:
        """`input_ids` int64 [B, T] -> logits [B, T, V], or LossParts with `labels` int64 [B, T], shifted."""

    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """Every layer that a training pass runs, in its order: units to shard, wrap or recompute."""

    @abstractmethod
    def init_weights(self, seed: int) -> None:
        """Deterministic in `seed` whatever the device, the sharding and the number of ranks."""

    @abstractmethod
    def caches(self) -> Sequence[Cache] | None:
        """Empty ones for one prompt, to be given with each pass; None: each pass takes the whole text."""

    @abstractmethod
    def update_router_bias(self, expert_counts: Tensor) -> None:
        """After an optimizer step. `expert_counts` [mixture layers, E]: the sum over the passes and the ranks
        of the global batch, the same on every rank."""
