"""Errors of the run config's own bounds, told as problems of the resource's fields."""

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from deepseek_workloads.plan.problem import Problem

INVALID_VALUE = "InvalidValue"


def problems_of(error: ValidationError, *, fields: Mapping[str, str] | None = None) -> list[Problem]:
    """`fields` renames paths of the run config whose place in the spec is another."""
    return [
        Problem(
            field=_field(tuple(detail["loc"]), fields or {}),
            value=repr(detail["input"]),
            rule=detail["msg"][0].lower() + detail["msg"][1:],
            remedy="change the value",
            reason=INVALID_VALUE,
        )
        for detail in error.errors(include_url=False)
    ]


def _field(path: tuple[int | str, ...], fields: Mapping[str, str]) -> str:
    text = "spec"
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{to_camel(part) if '_' in part else part}"
    return fields.get(text, text)
