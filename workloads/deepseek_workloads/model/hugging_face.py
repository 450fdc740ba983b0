"""The one place that maps our tensors to and from Hugging Face's names; config.json is the plan's.

Ours has the names of the trained module, in which the experts of a layer are fused; on disk each expert is by
itself. Modules for more than the next token are on disk the layers after the last, each with copies of the
model's embedding and head, as published and as inference engines look for them. It reads and writes no files.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.configs import own
from deepseek_workloads.plan.hugging_face_config import model_type_of

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_OF_TRAINING = ".mlp.gate.expert_frequency"  # buffers that no inference needs
_ROUTER = ".mlp.gate.weight"
_NEXTN = re.compile(r"^model\.nextn_predict_layers\.(?P<index>\d+)\.(?P<rest>.+)$")
_LAYER = re.compile(r"^model\.layers\.(?P<index>\d+)\.(?P<rest>.+)$")
# Mixtral's names of what a mixture holds.
_MIXTRAL = (
    (".block_sparse_moe.", ".mlp."),
    (".w1.weight", ".gate_proj.weight"),
    (".w3.weight", ".up_proj.weight"),
    (".w2.weight", ".down_proj.weight"),
)
_COPIES = ("embed_tokens.weight", "shared_head.head.weight")
_FUSED = re.compile(
    r"^(?P<layer>model\.(?:nextn_predict_)?layers\.\d+\.mlp\.experts)\.(?P<part>gate_up_proj|down_proj)$"
)
_SINGLE = re.compile(
    r"^(?P<layer>model\.(?:nextn_predict_)?layers\.\d+\.mlp\.experts)\.(?P<expert>\d+)\.(?P<part>gate|up|down)_proj\.weight$"
)


def to_hugging_face(
    state: Iterable[tuple[str, Tensor]], architecture: Architecture
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors under the names on disk, one by one (views; nothing is copied). A tied head is left out."""
    kind = model_type_of(architecture)
    shared: dict[str, Tensor] = {}
    for name, tensor in state:
        if name in (_EMBEDDING, _HEAD):
            shared[name] = tensor
        if name.endswith(_OF_TRAINING) or (architecture.tie_word_embeddings and name == _HEAD):
            continue
        if kind == own.MODEL_TYPE:
            yield name, tensor
            continue
        for single, weight in _single(_on_disk(name, architecture), tensor):
            yield (_to_mixtral(single) if kind == "mixtral" else single), weight
    if kind != own.MODEL_TYPE:
        yield from _copies(shared, architecture)


def from_hugging_face(tensors: Iterable[tuple[str, Tensor]], architecture: Architecture) -> dict[str, Tensor]:
    """The state dict of our module. Raises ValueError when an expert lacks a part."""
    mixtral = model_type_of(architecture) == "mixtral"
    state: dict[str, Tensor] = {}
    experts: dict[str, dict[tuple[int, str], Tensor]] = {}
    for on_disk, tensor in tensors:
        name = _in_memory(_from_mixtral(on_disk) if mixtral else on_disk, architecture)
        if name is None:
            continue
        single = _SINGLE.match(name)
        if single is None:
            state[name] = tensor
        else:
            experts.setdefault(single["layer"], {})[int(single["expert"]), single["part"]] = tensor
    for layer, parts in experts.items():
        state.update(_fuse(layer, parts))
    if architecture.moe is not None and architecture.moe.load_balance_loss_weight:
        routers = [name for name in state if name.endswith(_ROUTER)]
        for name in routers:
            frequency = torch.zeros(architecture.moe.n_routed_experts)
            state[name.removesuffix(_ROUTER) + _OF_TRAINING] = frequency
    if architecture.tie_word_embeddings:
        state[_HEAD] = state[_EMBEDDING]
    return state


@dataclass(frozen=True)
class Place:
    """Where a tensor on disk belongs in one of ours."""

    parameter: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]
    single: bool = False  # one expert: on disk without the first dimension


def place_of(name: str, shape: tuple[int, ...], architecture: Architecture) -> Place | None:
    """Of the tensor `name` on disk with this `shape`; None for what the model does not take from there."""
    if model_type_of(architecture) == own.MODEL_TYPE:
        return Place(name, (0,) * len(shape), shape)
    renamed = _from_mixtral(name) if model_type_of(architecture) == "mixtral" else name
    ours = _in_memory(renamed, architecture)
    if ours is None:
        return None
    single = _SINGLE.match(ours)
    if single is None:
        return Place(ours, (0,) * len(shape), shape)
    part, expert = single["part"], int(single["expert"])
    if part == "down":
        return Place(f"{single['layer']}.down_proj", (expert, 0, 0), (1, *shape), single=True)
    rows = shape[0] if part == "up" else 0
    return Place(f"{single['layer']}.gate_up_proj", (expert, rows, 0), (1, *shape), single=True)


def _copies(shared: Mapping[str, Tensor], architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """What modules for more than the next token share with the model."""
    for index in range(architecture.num_nextn_predict_layers):
        prefix = f"model.layers.{architecture.num_hidden_layers + index}"
        head = shared[_EMBEDDING if architecture.tie_word_embeddings else _HEAD]
        yield from zip((f"{prefix}.{copy}" for copy in _COPIES), (shared[_EMBEDDING], head), strict=True)


def _to_mixtral(name: str) -> str:
    if ".mlp." not in name:
        return name
    for theirs, ours in _MIXTRAL:
        name = name.replace(ours, theirs)
    return name


def _from_mixtral(name: str) -> str:
    for theirs, ours in _MIXTRAL:
        name = name.replace(theirs, ours)
    return name


def _on_disk(name: str, architecture: Architecture) -> str:
    nextn = _NEXTN.match(name)
    if nextn is None:
        return name
    return f"model.layers.{architecture.num_hidden_layers + int(nextn['index'])}.{nextn['rest']}"


def _in_memory(name: str, architecture: Architecture) -> str | None:
    """None for what this architecture has no module for, or has under another name already."""
    layer = _LAYER.match(name)
    index = -1 if layer is None else int(layer["index"]) - architecture.num_hidden_layers
    if layer is None or index < 0:
        return name
    if index >= architecture.num_nextn_predict_layers or layer["rest"] in _COPIES:
        return None
    return f"model.nextn_predict_layers.{index}.{layer['rest']}"


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
