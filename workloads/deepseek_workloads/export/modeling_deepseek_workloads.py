"""A model that no class of transformers expresses, for `AutoModelForCausalLM.from_pretrained(...,
trust_remote_code=True)`. It travels with the export and needs the package deepseek_workloads, which computes.
"""

from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.images import Images, find_images
from deepseek_workloads.model.vision import to_patches


class DeepseekWorkloadsConfig(PretrainedConfig):  # type: ignore[misc]
    """`architecture`: the complete description, by our own names."""

    model_type = "deepseek_workloads"

    def __init__(self, architecture: dict[str, Any] | None = None, **others: Any) -> None:
        self.architecture = architecture
        super().__init__(**others)


class DeepseekWorkloadsForCausalLM(PreTrainedModel):  # type: ignore[misc]
    """Logits of whole sequences; it keeps no cache."""

    config_class = DeepseekWorkloadsConfig
    base_model_prefix = "model"

    def __init__(self, config: DeepseekWorkloadsConfig) -> None:
        super().__init__(config)
        ours = DeepseekV3ForCausalLM(Architecture.model_validate(config.architecture))
        if ours.architecture.tie_word_embeddings:
            self._tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
        self.model, self.lm_head = ours.model, ours.lm_head
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Every weight is in the export."""

    def forward(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_others: Any,
    ) -> CausalLMOutput:
        """`input_ids` int64 [B, T], without padding -> logits [B, T, V]. An `attention_mask` of ones says
        nothing; one that hides a token, and `labels`, are refused by ValueError. A model that sees takes
        images as well: `pixel_values` uint8 [N, 3, side, side], as they are, whose placeholder tokens (one a
        patch, `vision.image_token_id`) `input_ids` hold in the same order."""
        if attention_mask is not None and not attention_mask.bool().all():
            hidden = int((attention_mask == 0).sum())
            raise ValueError(
                f"attention_mask: hides {hidden} tokens: must be all ones, since this model reads whole "
                "sequences without padding: group sequences of one length, or give them one by one"
            )
        if labels is not None:
            raise ValueError(
                "labels: this model gives logits and no loss: leave labels away and compute the loss of the "
                "logits, or train on from the export by spec.model.initFrom of a DeepSeekTrainingJob"
            )
        images = None if pixel_values is None else self._images(input_ids, pixel_values)
        with self.model.images.within(images):
            return CausalLMOutput(logits=self.lm_head(self.model(input_ids).last))

    def _images(self, input_ids: torch.Tensor, pixel_values: torch.Tensor) -> Images:
        """Raises ValueError."""
        vision = self.model.architecture.vision
        if vision is None:
            raise ValueError("pixel_values: this model sees no images: give input_ids alone")
        shape = (3, vision.image_size, vision.image_size)
        if pixel_values.dtype != torch.uint8 or tuple(pixel_values.shape[1:]) != shape:
            raise ValueError(
                f"pixel_values: {pixel_values.dtype} {list(pixel_values.shape)}: must be uint8 [N, "
                f"{', '.join(map(str, shape))}], scaled and not normalised: the model does that"
            )
        patches = to_patches(pixel_values, patch_size=vision.patch_size)
        return find_images(input_ids, patches, image_token_id=vision.image_token_id)
