"""Models that take weights in, alone in their group."""

from dataclasses import dataclass

import torch

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM


@dataclass
class Alone:
    """The group of one rank."""

    rank: int = 0
    world_size: int = 1

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values


def made(architecture: Architecture, seed: int) -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(architecture)
    model.init_weights(seed)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("bias"):
                buffer += 0.1 * seed
    return model
