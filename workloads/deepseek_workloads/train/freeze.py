"""Parts of a model that training leaves as they are."""

from collections.abc import Sequence

from deepseek_workloads.contract.run_config import ModelPart
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.vision_tensors import PROJECTOR, VISION_TOWER


def part_of(name: str) -> ModelPart:
    """That a parameter belongs to."""
    if name.startswith(VISION_TOWER):
        return "visionTower"
    return "projector" if name.startswith(PROJECTOR) else "languageModel"


def freeze(model: DeepseekV3ForCausalLM, parts: Sequence[ModelPart]) -> None:
    """They get no gradients, no optimizer states and, of mixtures, no moves of the router's bias."""
    for name, parameter in model.named_parameters():
        if part_of(name) in parts:
            parameter.requires_grad_(False)
