"""The whole model: tokens in, logits or the parts of the training loss out.

It knows neither optimizers nor ranks; first weights are made by `initialize`, Hugging Face's names by
`hugging_face`.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.architecture import Dropout as DropoutRates
from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.block import DecoderLayer, MixtureOfExperts
from deepseek_workloads.model.caches import Cache, LayerCache
from deepseek_workloads.model.documents import DocumentMask
from deepseek_workloads.model.dropout import EMBEDDING, Dropout, DropoutStream
from deepseek_workloads.model.head import IGNORED, LanguageModelHead
from deepseek_workloads.model.images import ImageInputs, place
from deepseek_workloads.model.initialize import initialize
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.losses import MTP_LOSS, summed
from deepseek_workloads.model.nextn import NextTokenLayer
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.rope import rotations, rotations_at
from deepseek_workloads.model.router import Router
from deepseek_workloads.model.trainable import LossParts, TrainableModel
from deepseek_workloads.model.vision import MultiModalProjector, VisionTransformer
from deepseek_workloads.plan.modules import INDEXER


class HiddenStates(NamedTuple):
    last: Tensor  # [B, T, H], normed
    layers: list[LayerOutput]


class DeepseekV3Model(nn.Module):
    """Embedding, layers, last norm; the modules that predict more than the next token; and, of a model that
    sees, what makes features of images."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.embed_tokens = nn.Embedding(architecture.vocab_size, architecture.hidden_size)
        rates = architecture.dropout or DropoutRates()
        self.embedding_dropout = Dropout(rates.embedding, layer=0, place=EMBEDDING)
        self.layers = nn.ModuleList(
            DecoderLayer(architecture, index) for index in range(architecture.num_hidden_layers)
        )
        self.norm = RMSNorm(architecture.hidden_size, eps=architecture.rms_norm_eps)
        self.nextn_predict_layers = nn.ModuleList(
            NextTokenLayer(architecture, index) for index in range(architecture.num_nextn_predict_layers)
        )
        self.images = ImageInputs()
        if architecture.vision is not None:
            self.vision_tower = VisionTransformer(architecture.vision)
            self.multi_modal_projector = MultiModalProjector(
                architecture.vision, hidden=architecture.hidden_size
            )

    def forward(
        self, input_ids: Tensor, *, start: int | Tensor = 0, caches: Sequence[Cache] | None = None
    ) -> HiddenStates:
        """`input_ids` int64 [B, T] at positions `start`, `start + 1`, ... (int64 [B]: each row from its own;
        int64 [1, T]: at these); `caches` hold those before."""
        self.images.features = self.image_features()
        hidden = self.embed(input_ids)
        rotation = self.rotation(start, length=input_ids.shape[1], like=hidden)
        outputs = []
        for index, layer in enumerate(self.layers):
            output = layer(hidden, rotation, caches[index] if caches is not None else None)
            hidden = output.hidden
            outputs.append(output)
        return HiddenStates(self.norm(hidden), outputs)

    def embed(self, input_ids: Tensor) -> Tensor:
        """int64 [B, T] -> [B, T, H], of the pass's images their features."""
        embedded = self.embed_tokens(input_ids)
        if self.images.current is not None and self.images.features is not None:
            embedded = place(embedded, self.images.features, self.images.current)
        dropped: Tensor = self.embedding_dropout(embedded)
        return dropped

    def image_features(self) -> Tensor | None:
        """[N, P, H] of the images of the pass, of one blank image where it has none; None: text alone."""
        images = self.images.current
        if images is None or self.architecture.vision is None:
            return None
        of_patches = self.vision_tower(images.or_blank())[:, 1:]
        features: Tensor = self.multi_modal_projector(of_patches)
        return features

    def look_further(self, input_ids: Tensor, last: Tensor) -> list[LayerOutput]:
        """Of each module for more than the next token, from `last` [B, T, H]: module k, counted from one, has
        [B, T - k, H], not normed."""
        embedded = self.embed(input_ids)
        rotation = self.rotation(0, length=input_ids.shape[1], like=embedded)
        outputs, hidden = [], last
        for layer in self.nextn_predict_layers:
            embedded, hidden = embedded[:, 1:], hidden[:, :-1]
            output = layer(hidden, rotation[: hidden.shape[1]], None, embedded)
            hidden = output.hidden
            outputs.append(output)
        return outputs

    def rotation(self, start: int | Tensor, *, length: int, like: Tensor) -> Tensor:
        """What turns the tokens of such positions, for every layer."""
        if isinstance(start, Tensor):
            positions = start
            if start.ndim == 1:
                positions = start.unsqueeze(1) + torch.arange(length, device=like.device)
            return rotations_at(self.architecture, positions, dtype=like.dtype)
        return rotations(self.architecture, start=start, length=length, dtype=like.dtype, device=like.device)


class DeepseekV3ForCausalLM(TrainableModel):
    """Call it for logits, or through `loss` for training; both run the hooks of wrappers and shards."""

    lm_head: LanguageModelHead

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = DeepseekV3Model(architecture)
        self.lm_head = LanguageModelHead(architecture.hidden_size, architecture.vocab_size)
        self.documents = DocumentMask()
        self.images = self.model.images
        for module in self.modules():
            if isinstance(module, MultiHeadLatentAttention | Router):
                module.documents = self.documents
        self.dropout_stream = DropoutStream()
        for module in self.modules():
            if isinstance(module, Dropout):
                module.stream = self.dropout_stream
        if architecture.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        if architecture.warming_up:  # the indexer learns from a model that stays as it is
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(INDEXER in name)

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        start: int | Tensor = 0,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor | LossParts:
        """`input_ids` int64 [B, T] -> logits [B, T, V], or LossParts with `labels` int64 [B, T], shifted."""
        hidden, layers = self.model(input_ids, start=start, caches=caches)
        if labels is None:
            logits: Tensor = self.lm_head(hidden)
            return logits
        lm_loss = self.lm_head(hidden, labels)
        auxiliary = []
        if self.training and self.model.nextn_predict_layers:
            further = self.model.look_further(input_ids, hidden)
            layers = [*layers, *further]
            auxiliary.append({MTP_LOSS: self.mtp_loss(further, labels)})
        auxiliary += [layer.losses for layer in layers if layer.losses is not None]
        parts = summed(auxiliary)
        mixtures = [layer for layer in layers if layer.expert_counts is not None]
        experts = self.architecture.routed_experts
        return LossParts(
            loss=sum(parts.values(), start=lm_loss),
            lm_loss=lm_loss.detach(),
            auxiliary={name: part.detach() for name, part in parts.items()},
            tokens=labels.numel(),
            expert_counts=_stacked([layer.expert_counts for layer in mixtures], labels.new_zeros(0, experts)),
            dropped=_stacked([layer.dropped for layer in mixtures], labels.new_zeros(0)),
        )

    def loss(self, input_ids: Tensor) -> LossParts:
        """`input_ids` int64 [B, T+1]: each token but the first is predicted from those before it."""
        parts: LossParts = self(input_ids[:, :-1], input_ids[:, 1:])
        return parts

    def mtp_loss(self, further: Sequence[LayerOutput], labels: Tensor) -> Tensor:
        """Equations 24 and 25: the mean over the modules, weighted."""
        losses = [self._loss_at(depth, output, labels) for depth, output in enumerate(further, 1)]
        return self.architecture.mtp_loss_weight * torch.stack(losses).mean()

    def _loss_at(self, depth: int, output: LayerOutput, labels: Tensor) -> Tensor:
        """Of one module. Where rows hold documents nothing is predicted from two of them, and the sum is
        divided as that of the next tokens is: rows and passes differ in how many are left."""
        wanted = labels[:, depth:]
        leaving = self.documents.leaves(depth, length=wanted.shape[1])
        if leaving is not None:
            wanted = wanted.masked_fill(leaving, IGNORED)
        mean: Tensor = self.lm_head(output.normed, wanted)
        if leaving is None:
            return mean
        left, all_labels = ((part != IGNORED).sum() for part in (wanted, labels))
        return mean * (left / all_labels.clamp(min=1))

    def init_weights(self, seed: int, *, but: Collection[str] = ()) -> None:
        """Deterministic in `seed` whatever the device, the sharding and the number of ranks. `but` names what
        stays as it is."""
        initialize(self, self.architecture, seed=seed, but=but)

    def caches(self) -> list[LayerCache]:
        """Empty ones for one prompt, to be given with each pass."""
        return [LayerCache() for _ in self.model.layers]

    def layers(self) -> list[DecoderLayer]:
        """Every layer that a training pass runs, in its order: units to shard, wrap or recompute."""
        return [*self.model.layers, *self.model.nextn_predict_layers]

    def vision_layers(self) -> list[nn.Module]:
        """Of the image encoder: units to recompute."""
        return [] if self.architecture.vision is None else list(self.model.vision_tower.layers)

    def mixtures(self) -> list[MixtureOfExperts]:
        """In the order of `LossParts.expert_counts`."""
        return [layer.mlp for layer in self.layers() if isinstance(layer.mlp, MixtureOfExperts)]

    def update_router_bias(self, expert_counts: Tensor) -> None:
        """After an optimizer step. `expert_counts` [mixture layers, E]: the sum over the passes and the ranks
        of the global batch, the same on every rank."""
        trained = any(weight.requires_grad for layer in self.layers() for weight in layer.parameters())
        if self.architecture.warming_up or not trained:  # then nothing of the layers is to change
            return
        for mixture, counts in zip(self.mixtures(), expert_counts.unbind(), strict=True):
            mixture.gate.update(counts)


def _stacked(counts: Sequence[Tensor | None], none: Tensor) -> Tensor:
    """`none` where there are none."""
    found = [count for count in counts if count is not None]
    return torch.stack(found) if found else none
