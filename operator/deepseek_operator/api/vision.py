"""`spec.model.vision`: an image encoder before the language model; the contract's Vision, and where its
weights come from.

It does not know what fits together (`plan.architecture_rules`).
"""

from typing import Annotated, Any

from pydantic import Field

from deepseek_operator.api.architecture import Size
from deepseek_operator.api.schema import ATOMIC_LIST, Decimal, SpecModel, StorageUri, rule, with_rules

Side = Annotated[int, Field(ge=1, le=4096)]
OfChannels = Annotated[list[Decimal], Field(min_length=3, max_length=3)]


class VisionInitFrom(SpecModel):
    """A Hugging Face ViT checkpoint."""

    storage_uri: StorageUri = Field(
        description="Prefix of the folder: config.json (model_type vit) and safetensors."
    )


class Vision(SpecModel):
    """An image encoder (ViT) and a projector of two layers: the model sees images of image-text datasets.
    Fields are named as in Hugging Face's ViTConfig and have its defaults, those of ViT-Base."""

    model_config = with_rules(
        rule(
            "self.imageSize % self.patchSize == 0",
            "must be divided by patchSize: use 224 with patches of 16 or 14, or 384 with 16",
            field_path=".imageSize",
        ),
        rule(
            "!has(self.hiddenSize) || !has(self.numAttentionHeads)"
            " || self.hiddenSize % self.numAttentionHeads == 0",
            "must divide hiddenSize",
            field_path=".numAttentionHeads",
        ),
    )

    init_from: VisionInitFrom | None = Field(
        default=None,
        description="Weights of the encoder to start from; absent: those of model.initFrom, or random ones.",
    )
    hidden_size: Size | None = Field(default=None, description="Width of the encoder; 768.")
    intermediate_size: Size | None = Field(default=None, description="Width of its networks; 3072.")
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Its layers; 12."
    )
    num_attention_heads: Size | None = Field(default=None, description="Its attention heads; 12.")
    layer_norm_eps: Decimal | None = Field(default=None, description="Epsilon of its norms; 1e-12.")
    qkv_bias: bool | None = Field(default=None, description="Whether its queries and keys have biases; true.")
    image_size: Side = Field(default=224, description="Pixels of an image's side, as the dataset has them.")
    patch_size: Side = Field(
        default=16, description="Pixels of a patch's side, as the dataset has them; a patch is a token."
    )
    image_mean: OfChannels | None = Field(
        default=None,
        description="Of red, green and blue from 0 to 1, as the checkpoint was trained; 0.5 each.",
        json_schema_extra=ATOMIC_LIST,
    )
    image_std: OfChannels | None = Field(
        default=None,
        description="Standard deviation of red, green and blue; 0.5 each.",
        json_schema_extra=ATOMIC_LIST,
    )
    image_token_id: Annotated[int, Field(ge=0, le=16_777_216)] = Field(
        description="Token that stands for a patch; images.imageTokenId of the dataset's manifest.json."
    )

    def to_overrides(self) -> dict[str, Any]:
        """What was given, as `plan.architecture.resolve` takes it under `vision`."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude={"init_from"})
