"""The base of API types, and the pieces of their OpenAPI schemas: strings, lists, CEL rules.

It does not know any kind.
"""

from math import isinf, isnan
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict

from deepseek_workloads.contract.wire import TolerantWireModel, WireModel

GROUP: Final = "deepseek.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
# Of a model: the held-out split's and those of four evaluation sets, six figures each, and what a few
# settings add.
MAX_MEASUREMENTS: Final = 48
MAX_NAME_LENGTH: Final = 40  # so that names of pods, which are host names too, stay within 63 characters


class SpecModel(WireModel):
    """What a user writes: an unknown field is an error, here as in the API server with strict validation."""


class StatusModel(TolerantWireModel):
    """What the operator wrote, perhaps a newer one: unknown fields are ignored."""

    def to_document(self) -> dict[str, Any]:
        """As JSON values, without unset fields; empty lists stay, so that they can be cleared."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rule(expression: str, message: str, *, field_path: str | None = None) -> dict[str, str]:
    """One entry of x-kubernetes-validations."""
    entry = {"rule": expression, "message": message}
    return entry | ({"fieldPath": field_path} if field_path else {})


def unchanged(path: str) -> str:
    """CEL: the field at `path`, whose parents always exist, is as it was; presence counts."""
    return f"has(self.{path}) == has(oldSelf.{path}) && (!has(self.{path}) || self.{path} == oldSelf.{path})"


def immutable(path: str) -> dict[str, str]:
    message = f"{path} is immutable: create a resource with another name to change it"
    return rule(unchanged(path), message, field_path=f".{path}")


def exactly_one_of(*names: str) -> dict[str, str]:
    terms = ", ".join(f"has(self.{name})" for name in names)
    return rule(f"[{terms}].filter(given, given).size() == 1", f"give exactly one of {' and '.join(names)}")


def with_rules(*rules: dict[str, str]) -> ConfigDict:
    """A `model_config` whose schema carries these CEL rules."""
    extra: JsonDict = {"x-kubernetes-validations": [dict(entry) for entry in rules]}
    return ConfigDict(json_schema_extra=extra)


def list_map(*keys: str) -> JsonDict:
    """json_schema_extra of a list that server-side apply merges by these keys."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC_LIST: Final[JsonDict] = {"x-kubernetes-list-type": "atomic"}
SET_LIST: Final[JsonDict] = {"x-kubernetes-list-type": "set"}


# Kubernetes' own patterns, with their bounds.
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=rf"^{_LABEL}$")]
# So that NAME/bits_per_byte is a NamedValue's name uncut.
EvaluationName = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=rf"^{_LABEL}$")]
DnsSubdomain = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=253,
        pattern=rf"^{_LABEL}(\.{_LABEL})*$",
    ),
]
LabelKey = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=317,
        pattern=rf"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_QUALIFIED}$",
    ),
]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=rf"^({_QUALIFIED})?$")]
Image = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")]
# The bucket and the scheme are checked by validation, whose message can say what to write instead.
StorageUri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
# Without credentials, whose place is a Secret. The port is checked by validation, as is all of an object that
# was stored under an earlier schema: reading it must not fail.
EndpointUrl = Annotated[
    str,
    StringConstraints(max_length=512, pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$"),
    WithJsonSchema({"type": "string", "maxLength": 512, "pattern": r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"}),
]
Region = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[-a-z0-9]+$")]
# module:function of an image.
Entrypoint = Annotated[str, StringConstraints(max_length=256, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Digest = Annotated[str, StringConstraints(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]

# API conventions: no floats. A decimal is a string such as "0.1" or "3e-4".
Decimal = Annotated[
    str, StringConstraints(min_length=1, max_length=24, pattern=r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$")
]
# A fraction of one, below it: "0.05" or "5e-2".
Fraction = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=24, pattern=r"^(0(\.[0-9]+)?|[0-9](\.[0-9]+)?[eE]-[0-9]{1,2})$"
    ),
]
# A measured number in a status: may be negative, and may be no number at all.
Measured = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=24, pattern=r"^(-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?|-?Infinity|NaN)$"
    ),
]

_QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"


def _quantity_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# A Kubernetes quantity; `1` and `"1"` are both accepted, as everywhere in Kubernetes.
Quantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    StringConstraints(min_length=1, max_length=24, pattern=_QUANTITY_PATTERN),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": _QUANTITY_PATTERN,
            "maxLength": 24,
        }
    ),
]


_PERCENTAGE_PATTERN: Final = r"^(100|[0-9]{1,2}(\.[0-9]{1,4})?)%$"

# A count, or a share such as "1%", as Kubernetes' maxUnavailable is; decimals too.
CountOrPercentage = Annotated[
    Annotated[int, Field(ge=0, le=10**9)] | Annotated[str, StringConstraints(pattern=_PERCENTAGE_PATTERN)],
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": _PERCENTAGE_PATTERN,
            "maxLength": 8,
            "minimum": 0,
            "maximum": 10**9,
        }
    ),
]


def measured(value: float, *, digits: int = 6) -> str:
    """A `Measured`, with so many significant digits."""
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.{digits}g}"
