"""A GPU without one: tensors of device cuda that have shapes, dtypes and strides, and no values.

Operations check what they are given and name what they would make; whatever waits for a value of the device
(`.item()`, `.tolist()`, a mask as an index) raises.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counts what is called, such as `_grouped_mm`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Around all that makes and computes tensors; those of "cuda" are then without values."""
    with FakeTensorMode():
        yield


@contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    """As `torch.autocast("cuda", dtype)`, which turns itself off where no GPU is."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


def backward(loss: Tensor) -> None:
    """As `loss.backward()`, whose engine asks the driver for the device. Every gradient must have the shape
    of what it is of, or one that was broadcast from it, and be on its device."""
    root = get_gradient_edge(loss).node
    waiting = _gradients_awaited(root)
    arrived: dict[Node, dict[int, Tensor]] = {root: {0: torch.ones_like(loss)}}
    ready = [root]
    while ready:
        node = ready.pop()
        following = [edge for edge in node.next_functions if edge[0] is not None]
        made = _made(node, arrived.pop(node, {}), edges=len(following))
        for (next_node, index), gradient in zip(following, made, strict=True):
            if gradient is not None:
                _add(arrived.setdefault(next_node, {}), next_node, index, gradient)
            waiting[next_node] -= 1
            if not waiting[next_node]:
                ready.append(next_node)


def _gradients_awaited(root: Node) -> Counter[Node]:
    """By each node below."""
    found: Counter[Node] = Counter()
    pending, seen = [root], {root}
    while pending:
        for node, _ in pending.pop().next_functions:
            if node is None:
                continue
            found[node] += 1
            if node not in seen:
                seen.add(node)
                pending.append(node)
    return found


def _made(node: Node, gradients: dict[int, Tensor], *, edges: int) -> list[Tensor | None]:
    """What a node gives to each node behind it."""
    variable = getattr(node, "variable", None)
    if variable is not None:  # a leaf
        (gradient,) = gradients.values()
        variable.grad = gradient if variable.grad is None else variable.grad + gradient
        return []
    if not gradients:
        return [None] * edges
    metadata = node._input_metadata
    given = [gradients.get(index) for index in range(len(metadata))]
    with torch.no_grad():
        if isinstance(node, BackwardCFunction):
            whole = [
                torch.zeros(tuple(m.shape), dtype=m.dtype, device=m.device) if gradient is None else gradient
                for gradient, m in zip(given, metadata, strict=True)
            ]
            made = node.apply(*whole)
            made = made if isinstance(made, tuple) else (made,)
            needed = list(node.needs_input_grad)  # also of inputs that are no tensors
        else:
            made = node(*given)
            made = made if isinstance(made, tuple) else (made,)
            needed = [next_node is not None for next_node, _ in node.next_functions]
    return [gradient for gradient, is_needed in zip(made, needed, strict=True) if is_needed]


def _add(gradients: dict[int, Tensor], node: Node, index: int, gradient: Tensor) -> None:
    expected = node._input_metadata[index]
    assert gradient.device == expected.device, f"{node.name()}: {gradient.device}, not {expected.device}"
    gradient = gradient.sum_to_size(tuple(expected.shape)).to(expected.dtype)
    gradients[index] = gradients[index] + gradient if index in gradients else gradient
