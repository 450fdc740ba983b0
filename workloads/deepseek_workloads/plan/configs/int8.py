"""How int8 matrices are told of in config.json and named on disk: `pack-quantized` of compressed-tensors.

Of its formats the one that transformers and vLLM read for weights alone, routed experts included. A module's
`weight` becomes three tensors: `weight_packed`, `weight_scale` and `weight_shape`.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

PACKED, SCALE, SHAPE = "_packed", "_scale", "_shape"  # behind the matrix's name
COLUMNS: Final = 4  # in one number of what is packed: matrices of other widths are stored as they are
METHOD: Final = "compressed-tensors"
_FORMAT: Final = "pack-quantized"
_HEAD: Final = "lm_head"
_WEIGHTS: Mapping[str, object] = MappingProxyType(
    {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
)
# What a config leaves unsaid.
_DEFAULTS: Mapping[str, object] = MappingProxyType({"type": "int", "symmetric": True, "dynamic": False})


def quantization_config(matrices: Collection[str], packed: Collection[str]) -> dict[str, Any]:
    """For config.json: `matrices` are the modules whose weights are some, `packed` those of them that are
    int8, by their names on disk."""
    group = {
        "targets": ["Linear"],
        "weights": dict(_WEIGHTS),
        "input_activations": None,
        "output_activations": None,
        "format": _FORMAT,
    }
    return {
        "quant_method": METHOD,
        "format": _FORMAT,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": _ignored(matrices, packed),
        "kv_cache_scheme": None,
    }


def is_int8(config: object) -> bool:
    """Whether a `quantization_config` tells of such matrices only, and of activations as they are."""
    if not isinstance(config, Mapping) or config.get("quant_method") != METHOD:
        return False
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or not groups or config.get("kv_cache_scheme"):
        return False
    return all(_is_int8_group(group, config.get("format")) for group in groups.values())


def _is_int8_group(group: object, format: object) -> bool:
    if not isinstance(group, Mapping) or not isinstance(group.get("weights"), Mapping):
        return False
    weights = {**_DEFAULTS, **group["weights"]}
    activations = group.get("input_activations") or group.get("output_activations")
    said = {name: weights.get(name) for name in _WEIGHTS}
    return not activations and (group.get("format") or format) == _FORMAT and said == dict(_WEIGHTS)


def _ignored(matrices: Collection[str], packed: Collection[str]) -> Sequence[str]:
    """Names, and one pattern for all below a name below which nothing is packed. For others a tied head is a
    linear layer, too."""
    above = {prefix for name in packed for prefix in _prefixes(name)}
    found = {_HEAD: None}
    for name in matrices:
        if name in packed:
            continue
        first = next(prefix for prefix in _prefixes(name) if prefix not in above)
        found[name if first == name else f"re:{re.escape(first)}\\..*"] = None
    return list(found)


def _prefixes(name: str) -> Iterator[str]:
    """`a.b.c` -> a, a.b, a.b.c."""
    parts = name.split(".")
    return (".".join(parts[: length + 1]) for length in range(len(parts)))
