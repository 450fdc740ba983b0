"""The base of every type that is written as JSON: camelCase on the wire, frozen and strict in Python."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class WireModel(BaseModel):
    """Frozen; unknown fields are refused, so that a typing error never silently changes a run."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="strings",
    )

    def to_json(self) -> bytes:
        """Canonical JSON: by alias, without unset optionals, keys in declaration order."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class TolerantWireModel(WireModel):
    """For messages between versions that may differ: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")
