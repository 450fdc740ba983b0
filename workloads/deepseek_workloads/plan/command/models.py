"""The models that are asked about, by their names. It reads config.json of a Hugging Face folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.command.arguments import Asked
from deepseek_workloads.plan.hugging_face_config import architecture_of
from deepseek_workloads.plan.presets import PRESETS


def models_of(asked: Asked) -> dict[str, Architecture]:
    """Raises ArchitectureRefused and ValueError for what names none, OSError for a file that is not there."""
    if asked.hugging_face is not None:
        return _of_folder(asked.hugging_face)
    overrides = _overrides(asked.settings)
    return {name: resolve(name, overrides) for name in asked.presets or PRESETS}


def _of_folder(path: str) -> dict[str, Architecture]:
    try:
        config = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(
            f"--hugging-face {path}: is no JSON ({error}); name the config.json of the folder"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"--hugging-face {path}: is no JSON object; name the config.json of the folder")
    return {str(config.get("model_type")): architecture_of(config)}


def _overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`moe.nGroup=4` -> {"moe": {"nGroup": "4"}}. Raises ValueError."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        path, separator, value = setting.partition("=")
        if not separator:
            raise ValueError(f"--set {setting}: must be FIELD=VALUE, e.g. moe.nRoutedExperts=16")
        *parents, name = path.split(".")
        inner = overrides
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ValueError(
                    f"--set {setting}: {parent} is given a value of its own, too; use one of them"
                )
        inner[name] = None if value == "null" else value
    return overrides
