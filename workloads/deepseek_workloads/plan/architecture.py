"""From a preset's name and the overrides of a resource to one `Architecture`.

It knows names and types; whether the numbers go together is `rules`' business.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from deepseek_workloads.contract.architecture import (
    Architecture,
    Attention,
    Dropout,
    HeadGate,
    Indexer,
    MoE,
    RopeScaling,
    Vision,
)
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.problem import Problem

ARCHITECTURE_FIELD = "spec.model.architecture"
VISION_FIELD = "spec.model.vision"
PRESET_FIELD = "spec.model.preset"
INVALID_ARCHITECTURE = "InvalidArchitecture"
UNKNOWN_PRESET = "UnknownPreset"

_NESTED: dict[str, type[BaseModel]] = {
    "attention": Attention,
    "dropout": Dropout,
    "head_gate": HeadGate,
    "indexer": Indexer,
    "moe": MoE,
    "rope_scaling": RopeScaling,
    "vision": Vision,
}


# Of attention: which kinds read a size. The others pass it over.
KINDS_THAT_READ: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "num_key_value_heads": ("gqa", "slidingWindow", "lsh"),
        "head_dim": ("gqa", "slidingWindow", "lsh"),
        "sliding_window": ("slidingWindow",),
        "num_buckets": ("lsh",),
        "num_hashes": ("lsh",),
    }
)


class ArchitectureRefused(ValueError):
    """The preset or the overrides name no architecture; `problems` says why, one by one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def resolve(preset: str | None, overrides: Mapping[str, Any] | None = None) -> Architecture:
    """The preset with the overrides laid over it, field by field.

    Names are camelCase (as in `spec.model.architecture`) or snake_case; decimals may be strings. A null takes
    an optional part away (`qLoraRank: null` is one full query projection, `ropeScaling: null` plain RoPE).
    Where they choose another `attention.kind`, the preset's sizes that it does not read are left out. Without
    a preset the overrides must be complete. Raises ArchitectureRefused with every problem found.
    """
    if preset is not None and preset not in PRESETS:
        raise ArchitectureRefused([_unknown_preset(preset)])
    base = _base(PRESETS[preset], overrides or {}) if preset is not None else {}
    problems: list[Problem] = []
    merged = _merge(base, overrides or {}, Architecture, ARCHITECTURE_FIELD, problems)
    if problems:
        raise ArchitectureRefused(problems)
    try:
        return Architecture.model_validate(merged)
    except ValidationError as error:
        raise ArchitectureRefused(_problems_of(error)) from error


def unread_sizes(attention: Attention) -> list[str]:
    """Names of those that this kind passes over."""
    return [name for name, kinds in KINDS_THAT_READ.items() if attention.kind not in kinds]


def _base(preset: Architecture, overrides: Mapping[str, Any]) -> dict[str, Any]:
    base, chosen = preset.model_dump(), overrides.get("attention")
    kind = chosen.get("kind") if isinstance(chosen, Mapping) else None
    for name, kinds in KINDS_THAT_READ.items():
        if kind is not None and kind not in kinds:
            base["attention"].pop(name)
    return base


def _unknown_preset(preset: str) -> Problem:
    near = difflib.get_close_matches(preset, PRESETS, n=3, cutoff=0.4)
    return Problem(
        field=PRESET_FIELD,
        value=repr(preset),
        rule=f"must be one of {', '.join(sorted(PRESETS))}",
        remedy=f"did you mean {' or '.join(near)}?" if near else "use one of them",
        reason=UNKNOWN_PRESET,
    )


def _merge(
    base: Mapping[str, Any],
    overrides: Mapping[str, Any],
    model: type[BaseModel],
    field: str,
    problems: list[Problem],
) -> dict[str, Any]:
    """`overrides` over `base`, by snake_case name; a name that `model` lacks is added to `problems`."""
    by_name = {spelling: name for name in model.model_fields for spelling in (name, to_camel(name))}
    merged = dict(base)
    for spelling, value in overrides.items():
        if spelling not in by_name:
            problems.append(_unknown_name(f"{field}.{spelling}", spelling, model))
            continue
        name = by_name[spelling]
        nested = _NESTED.get(name)
        if nested is not None and isinstance(value, Mapping):
            part = cast(Mapping[str, Any], merged.get(name) or {})
            value = _merge(part, value, nested, f"{field}.{to_camel(name)}", problems)
        merged[name] = value
    return merged


def _unknown_name(field: str, spelling: str, model: type[BaseModel]) -> Problem:
    names = [to_camel(name) for name in model.model_fields]
    near = difflib.get_close_matches(spelling, names, n=3, cutoff=0.5)
    return Problem(
        field=field,
        value=repr(spelling),
        rule="is not a field of an architecture",
        remedy=f"did you mean {' or '.join(near)}?" if near else f"known fields: {', '.join(names)}",
        reason=INVALID_ARCHITECTURE,
    )


def _problems_of(error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors():
        path = ".".join(to_camel(str(part)) for part in detail["loc"])
        whole = f"{ARCHITECTURE_FIELD}.{path}"
        missing = detail["type"] == "missing"
        problems.append(
            Problem(
                field=whole.replace(f"{ARCHITECTURE_FIELD}.vision", VISION_FIELD),  # it stands beside
                value="not set" if missing else repr(detail["input"]),
                rule=detail["msg"][:1].lower() + detail["msg"][1:],
                remedy="set it, or start from a preset" if missing else "correct the value",
                reason=INVALID_ARCHITECTURE,
            )
        )
    return problems
