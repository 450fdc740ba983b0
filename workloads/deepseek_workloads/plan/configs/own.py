"""What no class of transformers expresses: exported with our modelling file, under a name of its own."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture

MODEL_TYPE, CLASS = "deepseek_workloads", "DeepseekWorkloadsForCausalLM"
MODELING_FILE = "modeling_deepseek_workloads.py"  # of `export`; needs this package to run


def fields(a: Architecture) -> dict[str, Any]:
    module = MODELING_FILE.removesuffix(".py")
    return {
        "auto_map": {
            "AutoConfig": f"{module}.DeepseekWorkloadsConfig",
            "AutoModelForCausalLM": f"{module}.{CLASS}",
        },
        "architecture": a.model_dump(mode="json", by_alias=True),
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_hidden_layers,
        "num_attention_heads": a.num_attention_heads,
        "max_position_embeddings": a.max_position_embeddings,
        "tie_word_embeddings": a.tie_word_embeddings,
    }


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Raises ValueError."""
    return Architecture.model_validate(config.get("architecture"))
