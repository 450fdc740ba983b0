"""The names of tensors on disk and in memory: Hugging Face's, and those of the trained module. No torch.

In memory the experts of a layer are fused; on disk each is by itself. Modules for more than the next token
are on disk the layers after the last, each with copies of the model's embedding and head, as published and
as inference engines look for them. It reads and writes no files, and holds no tensors.
"""

import re
from dataclasses import dataclass

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.configs import own
from deepseek_workloads.plan.hugging_face_config import model_type_of

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
COPIES = ("embed_tokens.weight", "shared_head.head.weight")
SINGLE = re.compile(
    r"^(?P<layer>model\.(?:nextn_predict_)?layers\.\d+\.mlp\.experts)\.(?P<expert>\d+)\.(?P<part>gate|up|down)_proj\.weight$"
)
_NEXTN = re.compile(r"^model\.nextn_predict_layers\.(?P<index>\d+)\.(?P<rest>.+)$")
_LAYER = re.compile(r"^model\.layers\.(?P<index>\d+)\.(?P<rest>.+)$")
_MADE_FROM_CONFIG = ".rotary_emb.inv_freq"  # which older folders hold as well
# Mixtral's names of what a mixture holds.
_MIXTRAL = (
    (".block_sparse_moe.", ".mlp."),
    (".w1.weight", ".gate_proj.weight"),
    (".w3.weight", ".up_proj.weight"),
    (".w2.weight", ".down_proj.weight"),
)


@dataclass(frozen=True)
class Place:
    """Where a tensor on disk belongs in one of ours."""

    parameter: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]
    single: bool = False  # one expert: on disk without the first dimension


def place_of(
    name: str, shape: tuple[int, ...], architecture: Architecture, *, declared_nextn: int | None = None
) -> Place | None:
    """Of the tensor `name` on disk with this `shape`; None for what the model does not take from there."""
    ours = in_memory(name, architecture, declared_nextn=declared_nextn)
    if ours is None:
        return None
    if model_type_of(architecture) == own.MODEL_TYPE:
        return Place(name, (0,) * len(shape), shape)
    single = SINGLE.match(ours)
    if single is None:
        return Place(ours, (0,) * len(shape), shape)
    part, expert = single["part"], int(single["expert"])
    if part == "down":
        return Place(f"{single['layer']}.down_proj", (expert, 0, 0), (1, *shape), single=True)
    rows = shape[0] if part == "up" and shape else 0
    return Place(f"{single['layer']}.gate_up_proj", (expert, rows, 0), (1, *shape), single=True)


def on_disk(name: str, architecture: Architecture) -> str:
    """Of a tensor that is no fused expert."""
    nextn = _NEXTN.match(name)
    if nextn is not None:
        name = f"model.layers.{architecture.num_hidden_layers + int(nextn['index'])}.{nextn['rest']}"
    return name


def to_mixtral(name: str) -> str:
    if ".mlp." not in name:
        return name
    for theirs, ours in _MIXTRAL:
        name = name.replace(ours, theirs)
    return name


def in_memory(name: str, architecture: Architecture, *, declared_nextn: int | None = None) -> str | None:
    """None for what this architecture has no module for, makes itself, or has under another name already.
    `declared_nextn`: modules for more than the next token that the folder's config tells of; layers and
    modules behind these keep their names, which no model has. None: of how many is not known."""
    if model_type_of(architecture) == "mixtral":
        for theirs, ours in _MIXTRAL:
            name = name.replace(theirs, ours)
    if name.endswith(_MADE_FROM_CONFIG) or (architecture.tie_word_embeddings and name == HEAD):
        return None
    nextn = _NEXTN.match(name)  # under our own names; who loads a model may want fewer
    if nextn is not None and int(nextn["index"]) >= architecture.num_nextn_predict_layers:
        return None if _declared(int(nextn["index"]), declared_nextn) else name
    layer = _LAYER.match(name)
    index = -1 if layer is None else int(layer["index"]) - architecture.num_hidden_layers
    if layer is None or index < 0:
        return name
    if index >= architecture.num_nextn_predict_layers:
        return None if _declared(index, declared_nextn) else name
    if layer["rest"] in COPIES:
        return None
    return f"model.nextn_predict_layers.{index}.{layer['rest']}"


def _declared(index: int, declared_nextn: int | None) -> bool:
    return declared_nextn is None or index < declared_nextn
