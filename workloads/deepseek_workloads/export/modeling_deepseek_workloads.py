"""A model that no class of transformers expresses, for `AutoModelForCausalLM.from_pretrained(...,
trust_remote_code=True)`. It travels with the export and needs the package deepseek_workloads, which computes.
"""

from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM


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

    def forward(self, input_ids: torch.Tensor, **_others: Any) -> CausalLMOutput:
        """`input_ids` int64 [B, T], without padding -> logits [B, T, V]."""
        return CausalLMOutput(logits=self.lm_head(self.model(input_ids).last))
