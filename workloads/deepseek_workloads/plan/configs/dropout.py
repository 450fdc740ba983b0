"""Dropout in the spelling of config.json: of attention the classes' own, the others of training alone."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture, Dropout


def dropout_fields(architecture: Architecture) -> dict[str, Any]:
    dropout = architecture.dropout or Dropout()
    others = {"residual_dropout": dropout.residual, "embedding_dropout": dropout.embedding}
    return {"attention_dropout": dropout.attention, **{name: rate for name, rate in others.items() if rate}}


def dropout_of(config: Mapping[str, Any]) -> Dropout | None:
    """None where nothing is dropped. Raises ValueError."""
    rates = {name: config.get(f"{name}_dropout") or 0.0 for name in Dropout.model_fields}
    return Dropout(**rates) if any(rates.values()) else None
