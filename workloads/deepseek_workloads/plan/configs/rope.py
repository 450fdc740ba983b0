"""Rotary positions in the spelling of config.json."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture, RopeScaling

_ONLY = {"attention_factor": None, "truncate": True, "partial_rotary_factor": 1.0}  # what we compute


def rope_fields(architecture: Architecture) -> dict[str, Any]:
    scaling = architecture.rope_scaling
    return {
        "rope_theta": architecture.rope_theta,
        "rope_scaling": None if scaling is None else {"type": "yarn", **scaling.model_dump()},
    }


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an Architecture. Raises ValueError for positions that we do not compute."""
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    kind = rope.get("type") or rope.get("rope_type") or "default"
    if kind not in ("default", "yarn"):
        raise ValueError(f"rope type {kind!r} is not supported; only 'default' and 'yarn' are")
    scaling = {name: rope[name] for name in RopeScaling.model_fields if rope.get(name) is not None}
    for name, only in _ONLY.items():
        if rope.get(name, only) not in (only, None):
            raise ValueError(f"rope {name} is {rope[name]!r}; only {only!r} can be loaded")
    if kind == "yarn":
        # Without mscale_all_dim positions are scaled by mscale alone, and the softmax is not.
        scaling = {"mscale_all_dim": 0.0, **scaling}
    return {
        "rope_theta": config.get("rope_theta", rope.get("rope_theta", 10000.0)),
        "rope_scaling": RopeScaling(**scaling) if kind == "yarn" else None,
    }
