"""Our tensors to and from those on disk, under Hugging Face's names (`plan.hugging_face_names`).

It reads and writes no files.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.configs import own
from deepseek_workloads.plan.hugging_face_config import model_type_of
from deepseek_workloads.plan.hugging_face_names import (
    COPIES,
    EMBEDDING,
    HEAD,
    SINGLE,
    in_memory,
    on_disk,
    to_mixtral,
)

_OF_TRAINING = ".mlp.gate.expert_frequency"  # buffers that no inference needs
_ROUTER = ".mlp.gate.weight"
_FUSED = re.compile(
    r"^(?P<layer>model\.(?:nextn_predict_)?layers\.\d+\.mlp\.experts)\.(?P<part>gate_up_proj|down_proj)$"
)


def to_hugging_face(
    state: Iterable[tuple[str, Tensor]], architecture: Architecture
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors under the names on disk, one by one (views; nothing is copied). A tied head is left out."""
    kind = model_type_of(architecture)
    shared: dict[str, Tensor] = {}
    for name, tensor in state:
        if name in (EMBEDDING, HEAD):
            shared[name] = tensor
        if name.endswith(_OF_TRAINING) or (architecture.tie_word_embeddings and name == HEAD):
            continue
        yield from parts_on_disk(name, tensor, architecture)
    if kind != own.MODEL_TYPE:
        yield from _copies(shared, architecture)


def parts_on_disk(name: str, tensor: Tensor, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """What one of our tensors is on disk: itself under the name there, or its experts one by one (views)."""
    kind = model_type_of(architecture)
    if kind == own.MODEL_TYPE:
        yield name, tensor
        return
    for single, weight in _single(on_disk(name, architecture), tensor):
        yield (to_mixtral(single) if kind == "mixtral" else single), weight


def from_hugging_face(tensors: Iterable[tuple[str, Tensor]], architecture: Architecture) -> dict[str, Tensor]:
    """The state dict of our module. Raises ValueError when an expert lacks a part."""
    state = in_our_parts(tensors, architecture)
    if architecture.moe is not None and architecture.moe.load_balance_loss_weight:
        routers = [name for name in state if name.endswith(_ROUTER)]
        for name in routers:
            frequency = torch.zeros(architecture.moe.n_routed_experts)
            state[name.removesuffix(_ROUTER) + _OF_TRAINING] = frequency
    if architecture.tie_word_embeddings:
        state[HEAD] = state[EMBEDDING]
    return state


def in_our_parts(tensors: Iterable[tuple[str, Tensor]], architecture: Architecture) -> dict[str, Tensor]:
    """By our names, experts fused: of all that a model has, or of some. Raises ValueError when an expert
    lacks a part."""
    state: dict[str, Tensor] = {}
    experts: dict[str, dict[tuple[int, str], Tensor]] = {}
    for stored, tensor in tensors:
        name = in_memory(stored, architecture)
        if name is None:
            continue
        single = SINGLE.match(name)
        if single is None:
            state[name] = tensor
        else:
            experts.setdefault(single["layer"], {})[int(single["expert"]), single["part"]] = tensor
    for layer, parts in experts.items():
        state.update(_fuse(layer, parts))
    return state


def _copies(shared: Mapping[str, Tensor], architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """What modules for more than the next token share with the model."""
    for index in range(architecture.num_nextn_predict_layers):
        prefix = f"model.layers.{architecture.num_hidden_layers + index}"
        head = shared[EMBEDDING if architecture.tie_word_embeddings else HEAD]
        yield from zip((f"{prefix}.{copy}" for copy in COPIES), (shared[EMBEDDING], head), strict=True)


def _single(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The experts of a fused tensor, each by itself."""
    fused = _FUSED.match(name)
    if fused is None:
        yield name, tensor
        return
    for expert, weight in enumerate(tensor.unbind()):
        prefix = f"{fused['layer']}.{expert}"
        if fused["part"] == "down_proj":
            yield f"{prefix}.down_proj.weight", weight
        else:
            gate, up = weight.chunk(2)
            yield f"{prefix}.gate_proj.weight", gate
            yield f"{prefix}.up_proj.weight", up


def _fuse(layer: str, parts: Mapping[tuple[int, str], Tensor]) -> dict[str, Tensor]:
    count = 1 + max(expert for expert, _ in parts)
    missing = [
        f"{layer}.{expert}.{part}_proj.weight"
        for expert in range(count)
        for part in ("gate", "up", "down")
        if (expert, part) not in parts
    ]
    if missing:
        raise ValueError(f"{len(missing)} tensors of experts are missing, the first is {missing[0]}")
    return {
        f"{layer}.gate_up_proj": torch.stack(
            [torch.cat([parts[expert, "gate"], parts[expert, "up"]]) for expert in range(count)]
        ),
        f"{layer}.down_proj": torch.stack([parts[expert, "down"] for expert in range(count)]),
    }
