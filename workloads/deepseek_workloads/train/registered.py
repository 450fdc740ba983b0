"""A model of a user's image in the place of ours: what its function gets and gives, how it is called.

Data, optimizer, schedule, layout, checkpoints and watching stay the loop's. docs/custom-training.md is its
manual.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.documents import DocumentMask
from deepseek_workloads.model.dropout import DropoutStream
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.model.images import ImageInputs
from deepseek_workloads.model.trainable import LossParts, TrainableModel
from deepseek_workloads.train.refused import SettingRefused

MODEL_FIELD: Final = "spec.model.function"
_NETWORK: Final = "network."


@dataclass(frozen=True)
class ModelConfig:
    """What a function of spec.model.function gets."""

    architecture: Architecture  # of spec.model.preset and .architecture: the function's to use as it likes
    vocab_size: int  # logits of a token; at least the ids of the data's tokenizer
    sequence_length: int  # tokens of a row, at most
    dtype: torch.dtype  # of the passes; weights are float32 whatever it is


class CausalModel(Protocol):
    """What it gives: an nn.Module with this forward. `layers`, an iterable of the modules that it calls one
    after another (an nn.ModuleList), may be there: they are what zeroStage 1 to 3 shards,
    activationCheckpointing computes again and activationRange looks at."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, vocab_size] of the next token."""


@runtime_checkable
class HasTrainingLoss(Protocol):
    """Of a module that knows better what to minimise than the cross-entropy of its logits. Evaluation stays
    in nats."""

    def training_loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """int64 [B, T] each, labels shifted, -100: counts not -> one number, a mean over those that count."""


class RegisteredModel(TrainableModel):
    """As the loop calls it. `function` is what errors name."""

    def __init__(self, network: nn.Module, architecture: Architecture, *, function: str) -> None:
        super().__init__()
        self.architecture, self.function = architecture, function
        self.documents, self.images, self.dropout_stream = DocumentMask(), ImageInputs(), DropoutStream()
        self.network = network
        self.lm_head = LogitsHead()

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        start: int | Tensor = 0,  # noqa: ARG002 each pass takes the whole text
        caches: Sequence[Cache] | None = None,  # noqa: ARG002
    ) -> Tensor | LossParts:
        """As TrainableModel's."""
        if labels is not None and self.training and isinstance(self.network, HasTrainingLoss):
            return _parts(self._checked_loss(self.network.training_loss(input_ids, labels)), labels)
        logits: Tensor = self.lm_head(self._checked_logits(self.network(input_ids), input_ids))
        return logits if labels is None else _parts(self.lm_head(logits, labels), labels)

    def layers(self) -> list[nn.Module]:
        """None where the module does not name them."""
        named = getattr(self.network, "layers", ())
        return list(named) if isinstance(named, Iterable) else []

    def init_weights(self, seed: int) -> None:
        """Its function has made them, after manual_seed of the data's seed."""

    def caches(self) -> None:
        return None

    def update_router_bias(self, expert_counts: Tensor) -> None:
        """Its routers, if it has some, are its own."""

    def _checked_logits(self, logits: object, input_ids: Tensor) -> Tensor:
        wanted = [*input_ids.shape, self.architecture.vocab_size]
        if isinstance(logits, Tensor) and list(logits.shape) == wanted:
            return logits
        found = f"a {type(logits).__name__}"
        if isinstance(logits, Tensor):
            found = f"a Tensor of shape {list(logits.shape)}"
        raise SettingRefused(
            f"{MODEL_FIELD}: {self.function!r}: forward returned {found} for ids of shape "
            f"{list(input_ids.shape)}: must be logits of shape {wanted}: "
            f"spec.model.architecture.vocabSize is {wanted[-1]}"
        )

    def _checked_loss(self, loss: object) -> Tensor:
        if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
            return loss.reshape(())
        raise SettingRefused(
            f"{MODEL_FIELD}: {self.function!r}: training_loss returned a {type(loss).__name__}: must be one "
            "number with a gradient: return the mean over the labels that are not -100"
        )


class LogitsHead(nn.Module):
    """Has no weights: what comes in are logits."""

    def forward(self, logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """[..., V] as they are; with `labels` int64 [...] the mean cross-entropy, as LanguageModelHead's."""
        if labels is None:
            return logits
        rows = logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
        total = F.cross_entropy(rows, labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)


def own_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of a RegisteredModel by the names of the module that its function has made."""
    return {name.removeprefix(_NETWORK): tensor for name, tensor in state.items()}


def _parts(loss: Tensor, labels: Tensor) -> LossParts:
    return LossParts(
        loss=loss,
        lm_loss=loss.detach(),
        auxiliary={},
        tokens=labels.numel(),
        expert_counts=labels.new_zeros(0, 0),
        dropped=labels.new_zeros(0),
    )
