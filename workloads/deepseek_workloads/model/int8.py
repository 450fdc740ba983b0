"""Modules whose matrices stay int8 in memory, for inference: they take the place of loaded ones.

A product is made with the integers in the dtype of the activations, which holds each of them exactly
(bfloat16 up to 256), and the scales are applied to its results: nothing is rounded that widened weights would
not round. The integers of one matrix are widened at a time, and dropped.
"""

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.model.experts import RoutedExperts, Work
from deepseek_workloads.model.grouped_network import Sorting
from deepseek_workloads.model.integers import Int8, widened

_FOLDED: Final = ".kv_b_proj"  # attention takes its matrix apart (`attention._up`): it is widened once
_EXPERTS: Final = ("gate_up_proj", "down_proj")


class Int8Matrices(nn.Module):
    """`values` int8 [..., out, in] and `scale` float32 [..., out, 1]. Not in a state dict: who makes one has
    them."""

    values: Tensor
    scale: Tensor

    def __init__(self, matrix: Int8) -> None:
        super().__init__()
        self.register_buffer("values", matrix.values, persistent=False)
        self.register_buffer("scale", matrix.scale, persistent=False)

    def product(self, rows: Tensor, *index: int) -> Tensor:
        """`rows` [..., in] of any float dtype -> [..., out] in the same; `index`: of which matrix."""
        products = F.linear(rows, self.values[index].to(rows.dtype))
        return (products * self.scale[index].squeeze(-1)).to(rows.dtype)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # as torch has it
        """Scales stay float32 whatever the model is cast to: rounded ones would move whole rows."""
        exact = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.scale = exact.to(self.scale.device)
        return self


class Int8Linear(Int8Matrices):
    """In place of an `nn.Linear`."""

    def __init__(self, matrix: Int8, bias: nn.Parameter | None) -> None:
        super().__init__(matrix)
        self.bias = bias

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        products = self.product(hidden)
        return products if self.bias is None else products + self.bias


class Int8Experts(RoutedExperts):
    """In place of RoutedExperts. Experts without tokens cost nothing."""

    def __init__(self, gate_up: Int8, down: Int8) -> None:
        nn.Module.__init__(self)  # without the parameters that it has none of
        self.limited = False  # which is about training
        self.gate_up, self.down = Int8Matrices(gate_up), Int8Matrices(down)

    def _products(
        self, rows: Tensor, factors: Tensor, counts: Tensor, sorting: Sorting | None, meanwhile: Work
    ) -> Tensor:
        grouped = rows if sorting is None else sorting.spread(rows)
        outputs = torch.zeros_like(grouped)
        start = 0
        for expert, size in enumerate(counts.tolist()):
            if size:
                part = slice(start, start + size)
                gate, up = self.gate_up.product(grouped[part], expert).chunk(2, dim=-1)
                opened = F.silu(gate) * up * factors[part].unsqueeze(1)
                outputs[part] = self.down.product(opened, expert)
            start += size
        meanwhile()
        return outputs


def keep_int8(model: nn.Module, matrices: Mapping[str, Int8]) -> dict[str, Tensor]:
    """Modules that multiply by `matrices` (by the names of parameters) are replaced by such that keep them as
    they are -> the others, widened to float32 under their names, for `load_state_dict`."""
    rest = dict(matrices)
    for name, module in list(model.named_modules()):
        weight = f"{name}.weight"
        if type(module) is nn.Linear and weight in rest and not name.endswith(_FOLDED):
            model.set_submodule(name, Int8Linear(rest.pop(weight), module.bias))
        parts = [f"{name}.{part}" for part in _EXPERTS]
        if type(module) is RoutedExperts and all(part in rest for part in parts):
            model.set_submodule(name, Int8Experts(*(rest.pop(part) for part in parts)))
    return {name: widened(matrix) for name, matrix in rest.items()}
