"""config.json from and to our Architecture, by the class that expresses it. Pure; it knows no tensors."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan import custom_model
from deepseek_workloads.plan.configs import deepseek, llama, own
from deepseek_workloads.plan.configs.classes import completed

_CLASSES = {**deepseek.MODEL_TYPES, **llama.MODEL_TYPES, own.MODEL_TYPE: own.CLASS}


def model_type_of(architecture: Architecture) -> str:
    """Hugging Face's, of a class that computes the same; our own where none does."""
    if architecture.vision is not None:
        return own.MODEL_TYPE
    return deepseek.model_type(architecture) or llama.model_type(architecture) or own.MODEL_TYPE


def class_of(architecture: Architecture) -> str:
    """The class in `architectures` of config.json."""
    return _CLASSES[model_type_of(architecture)]


def config_json(
    architecture: Architecture,
    *,
    dtype: str = "float32",
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> dict[str, Any]:
    """The content of config.json."""
    kind = model_type_of(architecture)
    family = deepseek if kind in deepseek.MODEL_TYPES else llama if kind in llama.MODEL_TYPES else own
    return {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        **family.fields(architecture),
        "use_cache": kind != own.MODEL_TYPE,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
        "torch_dtype": dtype,
    }


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The inverse of `config_json`, also for configs written by others. Raises ValueError (pydantic's, or for
    what we do not compute the same way)."""
    kind = config.get("model_type")
    if kind in deepseek.MODEL_TYPES:
        return deepseek.architecture_of(completed(config))
    if kind in llama.MODEL_TYPES:
        return llama.architecture_of(completed(config))
    if kind == own.MODEL_TYPE:
        return own.architecture_of(config)
    if kind == custom_model.MODEL_TYPE:
        raise ValueError(custom_model.why_not_ours(config.get("model_function")))
    known = ", ".join(map(repr, _CLASSES))
    raise ValueError(f"model_type is {kind!r}; only {known} can be loaded")
