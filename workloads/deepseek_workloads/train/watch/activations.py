"""How large the numbers get that leave each layer: hooks that look only at the steps that ask for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class ActivationRange:
    """The largest absolute value of each layer's output, over the passes of a step of this rank."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._largest: list[Tensor | None] | None = None  # None: not looking
        self._layers = len(layers)
        for index, layer in enumerate(layers):
            layer.register_forward_hook(self._hook(index))

    @contextmanager
    def looking(self, wanted: bool) -> Iterator[None]:
        self._largest = [None] * self._layers if wanted else None
        try:
            yield
        finally:
            self._largest = None

    def values(self, device: torch.device) -> Tensor | None:
        """float32 [layers], 0 of a layer that another rank runs; None: nobody asked, or there are
        no layers. Inside `looking`."""
        if not self._largest:
            return None
        nothing = torch.zeros((), device=device)
        return torch.stack([nothing if value is None else value for value in self._largest])

    def _hook(self, index: int) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self._largest is None:
                return
            hidden = output[0] if isinstance(output, tuple) else output
            if not isinstance(hidden, Tensor):  # of a user's layer
                return
            value = hidden.detach().abs().amax().float()
            before = self._largest[index]
            self._largest[index] = value if before is None else torch.maximum(before, value)

        return look
