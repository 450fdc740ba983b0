"""config.json of a model that is a user's own code: it names no class that computes something else."""

from typing import Any, Final

from deepseek_workloads.contract.architecture import Architecture

MODEL_TYPE: Final = "custom"


def config_json(architecture: Architecture, *, function: str, **fields: Any) -> dict[str, Any]:
    """`architecture`: what the function was given; `fields`: ids of tokens and the like."""
    return {
        "architectures": [],
        "model_type": MODEL_TYPE,
        "model_function": function,
        "model_config": architecture.model_dump(mode="json", by_alias=True, exclude_none=True),
        "vocab_size": architecture.vocab_size,
        **fields,
        "torch_dtype": "float32",
    }


def why_not_ours(function: object) -> str:
    """Why such an export is no model that can be served, or started from."""
    return (
        f"model_type is {MODEL_TYPE!r}: the weights are those of a module that only the code of "
        f"spec.model.function {function!r} makes: load them there; they are neither served nor started from"
    )
