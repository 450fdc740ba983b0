"""An architecture as `spec.model` of a job: the nearest preset, and what differs from it."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.hugging_face_config import class_of
from deepseek_workloads.plan.presets import PRESETS

# A resource has words and zeros where an architecture has none: kubectl apply drops nulls.
_NONE: Mapping[str, Any] = {"qLoraRank": 0, "ropeScaling": {"type": "none"}, "expertCapacityFactor": "0"}


def model_spec(architecture: Architecture) -> dict[str, Any]:
    """`{"preset": ..., "architecture": {...}}`, and `vision` where it sees. Raises ValueError where no preset
    has its optional parts."""
    alike = [name for name, preset in PRESETS.items() if _of_same_parts(preset, architecture)]
    specs = [_spec(name, architecture) for name in alike]
    if not specs:
        raise ValueError(f"no preset has the parts of {class_of(architecture)}: name each field yourself")
    return min(specs, key=_size)


def _of_same_parts(preset: Architecture, architecture: Architecture) -> bool:
    """What an override cannot take away or add is the same."""
    parts = ((a.moe is None, a.indexer is None, a.latent) for a in (preset, architecture))
    return next(parts) == next(parts)


def _spec(name: str, architecture: Architecture) -> dict[str, Any]:
    theirs = PRESETS[name].model_dump(mode="json", by_alias=True)
    ours = architecture.model_dump(mode="json", by_alias=True)
    vision = ours.pop("vision")
    spec = {"preset": name, "architecture": _changed(theirs, ours)}
    return spec if vision is None else {**spec, "vision": _changed({}, vision)}


def _changed(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, value in wanted.items():
        before = base.get(name)
        if value == before:
            continue
        if isinstance(value, Mapping):
            changes[name] = _changed(before or {}, value)
        elif value is None:
            changes[name] = _NONE.get(name)
        else:
            changes[name] = _in_words(value)
    return changes


def _in_words(value: Any) -> Any:
    """Decimals of a resource are strings."""
    if isinstance(value, list):
        return [_in_words(each) for each in value]
    return str(value) if isinstance(value, float) else value


def _size(spec: Mapping[str, Any]) -> int:
    return len(str(spec["architecture"]))
