"""Figures as JSON, which knows no infinity and no NaN: they are null there."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any


def json_line(document: Mapping[str, Any]) -> str:
    return json.dumps(_finite(document), allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if isfinite(value) else None
        case Mapping():
            return {name: _finite(item) for name, item in value.items()}
        case str():
            return value
        case Sequence():
            return [_finite(item) for item in value]
    return value
