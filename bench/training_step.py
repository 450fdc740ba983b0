"""One training step of ours and of Hugging Face's model, made alike: weights, dtype, optimizer, clipping.

A step is forward, backward, clipping and update. It does not know clocks or files.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.train.float8 import use_float8
from deepseek_workloads.train.optimizers.build import build_optimizer

CLIP_NORM = 1.0
OPTIMIZER = Optimizer(learning_rate=1e-4)
SEED = 17
Step = Callable[[Tensor], Tensor]  # int64 [B, T+1] -> the detached loss before the update

# By what they hold: 8.1 and 58.4 million parameters, 5.5 and 30.0 million of them active.
MODELS: Mapping[str, Architecture] = MappingProxyType(
    {
        "8M": resolve(
            "deepseek-v3-tiny",
            {
                "hidden_size": 192,
                "intermediate_size": 512,
                "num_hidden_layers": 5,
                "num_attention_heads": 6,
                "q_lora_rank": 128,
                "moe": {"moe_intermediate_size": 192},
            },
        ),
        "60M": resolve("deepseek-v3-small", {"num_hidden_layers": 9}),
    }
)
DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16})


@dataclass(frozen=True)
class PeerSetting:
    """What Hugging Face lets a user choose of how it computes."""

    attention: str
    experts: str

    def __str__(self) -> str:
        return f"transformers, {self.attention}, {self.experts}"


PEER_SETTINGS = tuple(
    PeerSetting(attention, experts)
    for attention in ("sdpa", "eager")
    for experts in ("grouped_mm", "eager", "batched_mm")
)


def our_step(
    architecture: Architecture,
    dtype: torch.dtype,
    *,
    device: str = "cpu",
    float8: bool = False,
    documents: Tensor | None = None,
) -> Step:
    """`dtype` is what is computed in: weights, gradients and optimizer states are float32. `float8`: but for
    the products of the layers, as with precision fp8. `documents` int64 [B, T], of the CPU: which of a row's
    a token belongs to; attention stays within."""
    model = our_model(architecture, device=device)
    if float8:
        use_float8(model, [], device=torch.device(device))
    optimizer = build_optimizer(model, OPTIMIZER)
    parameters = list(model.parameters())

    def step(ids: Tensor) -> Tensor:
        with model.documents.within(documents, device=ids.device):
            with _compute(dtype, device):
                parts = model.loss(ids)
            parts.loss.backward()  # type: ignore[no-untyped-call]
        _update(parameters, optimizer)
        model.update_router_bias(parts.expert_counts)
        return parts.lm_loss

    return step


def peer_step(
    architecture: Architecture, dtype: torch.dtype, setting: PeerSetting, *, device: str = "cpu"
) -> Step:
    """With the same weights, optimizer and clipping. The peer has no update of the router's biases."""
    model = peer_model(architecture, setting, device=device)
    optimizer = build_optimizer(model, OPTIMIZER)
    parameters = list(model.parameters())

    def step(ids: Tensor) -> Tensor:
        with _compute(dtype, device):
            labels = ids[:, 1:].contiguous()
            loss: Tensor = model(input_ids=ids[:, :-1], labels=labels, shift_labels=labels).loss
        loss.backward()  # type: ignore[no-untyped-call]
        _update(parameters, optimizer)
        return loss.detach()

    return step


def our_model(architecture: Architecture, *, device: str = "cpu") -> DeepseekV3ForCausalLM:
    with torch.device(device):
        model = DeepseekV3ForCausalLM(architecture)
    model.init_weights(SEED)
    return model.train()


def peer_model(architecture: Architecture, setting: PeerSetting, *, device: str = "cpu") -> Any:
    from transformers import DeepseekV3Config  # only where it is measured
    from transformers import DeepseekV3ForCausalLM as Peer

    config = DeepseekV3Config(**config_json(architecture, dtype="float32"))
    config.use_cache = False
    model = Peer._from_config(config, attn_implementation=setting.attention)
    model.set_experts_implementation(setting.experts)
    model.load_state_dict(our_model(architecture).state_dict(), strict=True)
    return model.to(device).train()


def batch(architecture: Architecture, *, sequences: int, length: int, device: str = "cpu") -> Tensor:
    """int64 [sequences, length + 1] of random tokens: how long a step takes does not depend on them."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (sequences, length + 1)
    return torch.randint(architecture.vocab_size, shape, generator=generator).to(device)


def _compute(dtype: torch.dtype, device: str) -> AbstractContextManager[Any]:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype=dtype)


def _update(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM, foreach=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
