"""What a module's forward pass sees in place of its parameters. It does not know why."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def seeing(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """`values` by the names of parameters of the module's own. The optimizer, hooks and shards see those."""
    own = {name: module._parameters[name] for name in values}
    module._parameters.update(values)  # type: ignore[arg-type]  # made of parameters: gradients pass
    try:
        yield
    finally:
        module._parameters.update(own)
