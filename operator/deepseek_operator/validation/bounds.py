"""Errors of the run config's own bounds, told as problems of the resource's fields."""

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from deepseek_workloads.plan.problem import Problem

INVALID_VALUE = "InvalidValue"
_BOUNDS: Final = {
    "gt": "use a number above {}",
    "ge": "use {} or more",
    "lt": "use a number below {}",
    "le": "use at most {}",
    "min_length": "give at least {}",
    "max_length": "give at most {}",
    "expected": "use {}",
}


def problems_of(error: ValidationError, *, fields: Mapping[str, str] | None = None) -> list[Problem]:
    """`fields` renames paths of the run config, and what is below them, whose place in the spec is
    another."""
    return [
        Problem(
            field=_field(tuple(detail["loc"]), fields or {}),
            value=repr(detail["input"]),
            rule=detail["msg"][0].lower() + detail["msg"][1:],
            remedy=_remedy(detail),
            reason=INVALID_VALUE,
        )
        for detail in error.errors(include_url=False)
    ]


def _remedy(detail: ErrorDetails) -> str:
    """The bound that the value is beyond, as pydantic names it."""
    bounds = detail.get("ctx", {})
    for name, words in _BOUNDS.items():
        if name in bounds:
            return words.format(bounds[name])
    return "correct the value"


def _field(path: tuple[int | str, ...], fields: Mapping[str, str]) -> str:
    text = "spec"
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{to_camel(part) if '_' in part else part}"
    for ours, theirs in fields.items():
        if text == ours or text.startswith((f"{ours}.", f"{ours}[")):
            return theirs + text.removeprefix(ours)
    return text
