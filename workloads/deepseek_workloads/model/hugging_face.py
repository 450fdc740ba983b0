"""The one place that maps our tensors to and from Hugging Face's names; config.json is the plan's.

Ours has the names of the trained module, in which the experts of a layer are fused; on disk each expert is by
itself. It reads and writes no files.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

_FUSED = re.compile(r"^(?P<layer>model\.layers\.\d+\.mlp\.experts)\.(?P<part>gate_up_proj|down_proj)$")
_SINGLE = re.compile(
    r"^(?P<layer>model\.layers\.\d+\.mlp\.experts)\.(?P<expert>\d+)\.(?P<part>gate|up|down)_proj\.weight$"
)


def to_hugging_face(
    state: Iterable[tuple[str, Tensor]], *, tied: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors under the names on disk, one by one (views; nothing is copied). A tied head is left out."""
    for name, tensor in state:
        fused = _FUSED.match(name)
        if tied and name == "lm_head.weight":
            continue
        if fused is None:
            yield name, tensor
            continue
        for expert, weight in enumerate(tensor.unbind()):
            prefix = f"{fused['layer']}.{expert}"
            if fused["part"] == "down_proj":
                yield f"{prefix}.down_proj.weight", weight
            else:
                gate, up = weight.chunk(2)
                yield f"{prefix}.gate_proj.weight", gate
                yield f"{prefix}.up_proj.weight", up


def from_hugging_face(tensors: Iterable[tuple[str, Tensor]], *, tied: bool = False) -> dict[str, Tensor]:
    """The state dict of our module. Raises ValueError when an expert lacks a part."""
    state: dict[str, Tensor] = {}
    experts: dict[str, dict[tuple[int, str], Tensor]] = {}
    for name, tensor in tensors:
        single = _SINGLE.match(name)
        if single is None:
            state[name] = tensor
        else:
            experts.setdefault(single["layer"], {})[int(single["expert"]), single["part"]] = tensor
    for layer, parts in experts.items():
        state.update(_fuse(layer, parts))
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


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
