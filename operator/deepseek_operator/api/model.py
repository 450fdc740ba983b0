"""The model of a training job: its architecture, and what it starts from."""

from typing import Any

from pydantic import Field

from deepseek_operator.api.architecture import ArchitectureOverrides
from deepseek_operator.api.schema import (
    DnsLabel,
    Entrypoint,
    SpecModel,
    StorageUri,
    exactly_one_of,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference
from deepseek_operator.api.vision import Vision


class InitFrom(SpecModel):
    """An export: its weights. The optimizer, the schedule and the steps begin anew."""

    model_config = with_rules(exactly_one_of("revisionRef", "modelName", "storageUri"))

    revision_ref: LocalReference | None = Field(
        default=None,
        description="DeepSeekModelRevision of the namespace; the job waits until it exists.",
    )
    model_name: DnsLabel | None = Field(
        default=None,
        description="The newest DeepSeekModelRevision whose spec.modelName is this, at the job's start.",
    )
    storage_uri: StorageUri | None = Field(
        default=None, description="Prefix of an export (.../exports/sha256-...), or of a Hugging Face folder."
    )


class Model(SpecModel):
    """What is trained."""

    preset: DnsLabel = Field(
        description=(
            "Named architecture: transformer-5m, moe-30m, deepseek-v3-tiny, -small, -128m, -1b, -16b, -236b, "
            "deepseek-v3 itself (671B) or deepseek-v32."
        ),
    )
    architecture: ArchitectureOverrides | None = Field(
        default=None, description="Fields of the preset to change."
    )
    function: Entrypoint | None = Field(
        default=None,
        description="module:function of spec.image that makes the model in place of the preset's; "
        "docs/custom-training.md.",
    )
    init_from: InitFrom | None = Field(
        default=None,
        description="Weights to start from, of a model of this architecture and the data's tokenizer.",
    )
    vision: Vision | None = Field(
        default=None,
        description="An image encoder before the model, for datasets of format image-text; docs/models.md.",
    )

    def to_overrides(self) -> dict[str, Any]:
        """Of the preset, as `plan.architecture.resolve` takes them."""
        overrides = self.architecture.to_overrides() if self.architecture is not None else {}
        return overrides if self.vision is None else {**overrides, "vision": self.vision.to_overrides()}
