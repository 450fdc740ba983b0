"""Hugging Face's DeepseekV3ForCausalLM beside ours with the same weights, and float64 for its float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import DeepseekV3Config
from transformers import DeepseekV3ForCausalLM as Oracle
from transformers.models.deepseek_v3 import modeling_deepseek_v3

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.hugging_face_config import config_json


class _TorchInFloat64(SimpleNamespace):
    """The oracle casts up to `torch.float32` in norms and router; that would hide everything below 1e-7."""

    float32 = torch.float64
    float = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, the oracle's own casts to float32 go to float64 (its rotary table stays float32, like ours)."""
    rotary = modeling_deepseek_v3.DeepseekV3RotaryEmbedding.forward
    with monkeypatch.context() as patch:
        patch.setattr(modeling_deepseek_v3, "torch", _TorchInFloat64())

        def in_float32(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> Any:
            with monkeypatch.context() as inner:
                inner.setattr(modeling_deepseek_v3, "torch", torch)
                return rotary(self, x, position_ids)

        patch.setattr(modeling_deepseek_v3.DeepseekV3RotaryEmbedding, "forward", in_float32)
        yield


def pair(
    architecture: Architecture, *, dtype: torch.dtype = torch.float32, seed: int = 3
) -> tuple[DeepseekV3ForCausalLM, Any]:
    """Ours and the oracle with equal, not too small weights and router biases that matter."""
    ours = DeepseekV3ForCausalLM(architecture)
    ours.init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in ours.state_dict().items():
            if "norm" in name:
                tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
            elif name.endswith("bias"):
                tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
            else:
                tensor *= 3
    oracle = Oracle(DeepseekV3Config(**config_json(architecture)))
    oracle.set_experts_implementation("eager")  # grouped products lack float64 and some widths
    oracle.load_state_dict(ours.state_dict(), strict=True)
    return ours.to(dtype), oracle.to(dtype)


def token_ids(architecture: Architecture, *, sequences: int, length: int, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(architecture.vocab_size, (sequences, length), generator=generator)


def assert_same_gradients(
    ours: torch.nn.Module, oracle: torch.nn.Module, *, atol: float, rtol: float
) -> None:
    """Of every parameter that the oracle has, by name."""
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in oracle.named_parameters():
        torch.testing.assert_close(
            gradients[name],
            parameter.grad,
            atol=atol,
            rtol=rtol,
            msg=lambda text, name=name: f"{name}: {text}",
        )
