"""From a structured record to the text of a document: one field, or a template over all of them. Pure."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import StrictUndefined, Template, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import DatasetRun, RawSource
from deepseek_workloads.data.manifest import DatasetError


def text_of(record: Mapping[str, Any], source: RawSource) -> str:
    """Raises ValueError, which names the field."""
    if source.template is not None:
        try:
            return _compiled(source.template).render(record)
        except jinja2.TemplateError as error:
            raise ValueError(f"the template cannot be filled: {error}") from error
        except (TypeError, ArithmeticError, LookupError, AttributeError) as error:
            raise ValueError(f"the template fails: {type(error).__name__}: {error}") from error
    text = record.get(source.text_field)
    if not isinstance(text, str):
        kind = f"a {type(text).__name__}" if source.text_field in record else "missing"
        raise ValueError(f"field {source.text_field!r} must be a string, it is {kind}")
    return text


def fields_of(source: RawSource) -> list[str]:
    """The fields of a record that its text is made of, in order of their names."""
    if source.template is None:
        return [source.text_field]
    return sorted(meta.find_undeclared_variables(_environment().parse(source.template)))


def check_templates(run: DatasetRun) -> None:
    """Before any work. Raises DatasetError."""
    for source in run.raw_sources:
        try:
            fields_of(source)
        except jinja2.TemplateSyntaxError as error:
            raise DatasetError(
                f"spec.sources[{source.name}].template: line {error.lineno}: {error.message}: correct the "
                "Jinja template",
                reasons.INVALID_RUN_CONFIG,
            ) from error


def as_record(value: object) -> dict[str, Any]:
    """Raises ValueError for what has no fields."""
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, this is a {type(value).__name__}")
    return value


def language_of(record: Mapping[str, Any]) -> str:
    language = record.get("language")
    return language if isinstance(language, str) else ""


def joined(fields: Sequence[str]) -> str:
    return ", ".join(repr(field) for field in fields)


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


def _environment() -> ImmutableSandboxedEnvironment:
    """A template is of the user and runs over data of anybody: no access to anything but the record."""
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
