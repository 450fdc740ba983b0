"""From the types to CustomResourceDefinitions: pydantic's JSON Schema in the dialect of the API server.

References are inlined, `X | None` is an optional X, what structural schemas forbid goes, defaults stay.
"""

from typing import Any, Final

from deepseek_operator.api.kinds import Kind, PrinterColumn
from deepseek_operator.api.schema import GROUP, VERSION

Schema = dict[str, Any]

_CATEGORY: Final = "deepseek"
_LEFT_OUT: Final = frozenset({"title", "$defs", "propertyNames", "patternProperties", "const"})
_FIRST: Final = ("description", "type", "default", "required", "properties")
_OPTIONAL: Final = {"type": "null"}
_API_VERSION_TEXT: Final = "Version of the schema of this object, deepseek.dev/v1alpha1."
_KIND_TEXT: Final = "Kind of this object."


def build_crd(kind: Kind) -> dict[str, Any]:
    """The whole CustomResourceDefinition; equal types give equal documents."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": [_CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": build_schema(kind)},
                    "subresources": {"status": {}} | _scale(kind),
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                }
            ],
        },
    }


def build_schema(kind: Kind) -> Schema:
    """The structural schema of one kind."""
    source = kind.model.model_json_schema(by_alias=True, mode="validation")
    whole = _convert(source, source.get("$defs", {}))
    properties = whole["properties"]
    return {
        "description": whole["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": _API_VERSION_TEXT, "type": "string"},
            "kind": {"description": _KIND_TEXT, "type": "string"},
            "metadata": {"type": "object"},
            "spec": properties["spec"],
            "status": _without_defaults(properties["status"]),
        },
        "x-kubernetes-validations": whole["x-kubernetes-validations"],
    }


def _convert(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _inlined(schema, definitions)
    result: Schema = {}
    for name, value in schema.items():
        if name == "properties":
            result[name] = {field: _convert(child, definitions) for field, child in value.items()}
        elif name == "items" or (name == "additionalProperties" and isinstance(value, dict)):
            result[name] = _convert(value, definitions)
        elif name == "default":
            result |= {} if value is None else {"default": _given(value)}
        elif name == "description":
            result[name] = " ".join(value.split())
        elif name not in _LEFT_OUT and name != "additionalProperties":
            result[name] = value
    if "const" in schema:
        result["enum"] = [schema["const"]]
    for value in schema.get("patternProperties", {}).values():
        result["additionalProperties"] = _convert(value, definitions)
    return {name: result[name] for name in sorted(result, key=_reading_order)}


def _reading_order(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _inlined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Without $ref and without the null of an optional; what stands beside them wins."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return _inlined(target | {key: value for key, value in schema.items() if key != "$ref"}, definitions)
    choices = schema.get("anyOf", [])
    if _OPTIONAL in choices:
        (only,) = [choice for choice in choices if choice != _OPTIONAL]
        return _inlined(only | {key: value for key, value in schema.items() if key != "anyOf"}, definitions)
    return schema


def _given(value: object) -> object:
    """A default as the API server wants it: whole, since rules are checked on it as it stands, without nulls
    and empty parts, which are absence."""
    if not isinstance(value, dict):
        return value
    return {name: _given(part) for name, part in value.items() if part not in (None, [], {})}


def _without_defaults(schema: Schema) -> Schema:
    """A status is written whole by the operator; only a spec is filled in."""
    result = {name: value for name, value in schema.items() if name != "default"}
    if "properties" in result:
        result["properties"] = {
            name: _without_defaults(child) for name, child in result["properties"].items()
        }
    if "items" in result:
        result["items"] = _without_defaults(result["items"])
    return result


def _scale(kind: Kind) -> dict[str, Any]:
    if kind.scale is None:
        return {}
    paths = {"specReplicasPath": kind.scale.spec_path, "statusReplicasPath": kind.scale.status_path}
    return {"scale": paths}


def _column(column: PrinterColumn) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
    }
    return entry | ({"priority": 1} if column.wide else {})
