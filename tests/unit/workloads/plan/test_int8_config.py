"""Which `quantization_config` tells of int8 matrices that we read, and what ours says is left as it is."""

import re
from typing import Any

import pytest

from deepseek_workloads.plan.configs.int8 import is_int8, quantization_config
from deepseek_workloads.plan.hugging_face_config import architecture_of

LAYER = "model.layers.{}.mlp.{}"
PACKED = [LAYER.format(layer, name) for layer in (1, 11) for name in ("up_proj", "down_proj")]
OTHERS = [
    LAYER.format(1, "gate"),
    LAYER.format(2, "experts.0.up_proj"),
    LAYER.format(2, "gate"),
    "model.embed",
]
OURS = quantization_config([*PACKED, *OTHERS, "lm_head"], PACKED)
GROUP = OURS["config_groups"]["group_0"]


def with_group(**changes: Any) -> dict[str, Any]:
    return {**OURS, "config_groups": {"group_0": {**GROUP, **changes}}}


def with_weights(**changes: Any) -> dict[str, Any]:
    return with_group(weights={**GROUP["weights"], **changes})


def test_ours_is_one() -> None:
    assert is_int8(OURS)


def test_what_others_leave_unsaid_has_the_formats_defaults() -> None:
    weights = {"num_bits": 8, "strategy": "channel", "group_size": None, "observer": "minmax"}
    group = {"targets": ["Linear"], "weights": weights}
    assert is_int8(
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": group}}
    )


@pytest.mark.parametrize(
    "other",
    [
        None,
        "int8",
        {},
        {"quant_method": "compressed-tensors"},
        {**OURS, "quant_method": "gptq"},
        {**OURS, "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
        {**OURS, "config_groups": {**OURS["config_groups"], "group_1": None}},
        with_group(format="int-quantized"),
        with_group(input_activations={"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}),
        with_group(weights=None),
        with_weights(num_bits=4),
        with_weights(type="float"),
        with_weights(symmetric=False),
        with_weights(strategy="group", group_size=128),
        with_weights(dynamic=True),
    ],
)
def test_others_are_not(other: object) -> None:
    assert not is_int8(other)
    with pytest.raises(ValueError, match="quantization_config is"):
        architecture_of({"model_type": "deepseek_v3", "quantization_config": other or "none"})


def test_everything_that_is_not_packed_is_ignored_and_nothing_else() -> None:
    def ignored(name: str) -> bool:
        """As its readers match names."""
        return any(
            bool(re.match(each[3:], name)) if each.startswith("re:") else each == name
            for each in OURS["ignore"]
        )

    assert all(ignored(name) for name in [*OTHERS, "lm_head"])
    assert not any(ignored(name) for name in PACKED)


def test_what_holds_nothing_packed_is_ignored_in_one_line() -> None:
    assert OURS["ignore"] == ["lm_head", LAYER.format(1, "gate"), r"re:model\.layers\.2\..*", "model.embed"]


def test_a_head_that_is_tied_to_the_embedding_is_ignored_all_the_same() -> None:
    assert quantization_config(PACKED, PACKED)["ignore"] == ["lm_head"]
