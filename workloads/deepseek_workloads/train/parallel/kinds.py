"""A module becomes one of a more special kind, in place: its tensors, names and hooks stay what they are."""

from typing import TypeVar

from torch import nn

Kind = TypeVar("Kind", bound=nn.Module)


def become(module: nn.Module, kind: type[Kind]) -> Kind:
    """`kind` derives from the module's class and adds what needs no constructor (fully_shard does the same).
    Raises TypeError for any other."""
    if not issubclass(kind, type(module)):
        raise TypeError(f"{type(module).__name__}: must be a base of {kind.__name__}")
    module.__class__ = kind
    assert isinstance(module, kind)
    return module
