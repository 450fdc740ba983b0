"""The modules of a model that settings may name by shell patterns, from its architecture alone.

It knows names only; that they are those of the trained module is for tests to hold.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.tensors import parameter_shapes

INDEXER: Final = ".self_attn.indexer."  # in the names of its modules and tensors
_ROUTER = ".mlp.gate"
# Matrices whose module gives another thing than a product: rows, choices, gates, also a loss.
_NOT_LINEAR = ("embed_tokens.weight", f"{_ROUTER}.weight", ".head_gate.weight", "lm_head.weight")
_WITHOUT_PRECISION = ("embed_tokens", ".head_gate")  # of modules with matrices, beside the routers


def module_names(architecture: Architecture) -> list[str]:
    """Every module that holds a trained tensor, itself or below it, in the order of the model."""
    return _with_outer(tensor.rpartition(".")[0] for tensor in parameter_shapes(architecture))


def linear_names(architecture: Architecture) -> list[str]:
    """Those that are one matrix product and nothing else: no embedding, router, gates of heads or head of the
    language model, not the experts together."""
    return [
        tensor.removesuffix(".weight")
        for tensor, shape in parameter_shapes(architecture).items()
        if len(shape) == 2 and tensor.endswith(".weight") and not tensor.endswith(_NOT_LINEAR)
    ]


def gated_networks(architecture: Architecture) -> dict[str, int]:
    """Those with gate, up and down, and how many channels they have; the experts of a layer are one."""
    shapes = {name.removesuffix(".weight"): shape for name, shape in parameter_shapes(architecture).items()}
    return {
        name.removesuffix(".down_proj"): shape[-1]
        for name, shape in shapes.items()
        if name.endswith(".down_proj")
    }


def holding_matrices(architecture: Architecture) -> list[str]:
    """Those with a matrix of their own, but for the routers."""
    matrices = (tensor for tensor, shape in parameter_shapes(architecture).items() if len(shape) >= 2)
    names = dict.fromkeys(tensor.rpartition(".")[0] for tensor in matrices)
    return [name for name in names if not name.endswith(_ROUTER)]


def with_precision(architecture: Architecture) -> list[str]:
    """Those with a product whose precision can be chosen, themselves or below them. The others are norms,
    routers and gates of heads, which are computed in float32 always, and the embedding, which multiplies
    nothing."""
    products = (name for name in holding_matrices(architecture) if not name.endswith(_WITHOUT_PRECISION))
    return _with_outer(products)


def _with_outer(modules: Iterable[str]) -> list[str]:
    """Each behind those that it is inside of, once."""
    names: dict[str, None] = {}
    for module in modules:
        parts = module.split(".")
        names.update(dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1)))
    return list(names)


def fitting(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    patterns = list(patterns)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def outermost(names: Iterable[str]) -> list[str]:
    """Without those that are inside another one of them."""
    given = list(names)
    return [name for name in given if not any(name.startswith(f"{other}.") for other in given)]


def examples(names: Iterable[str]) -> str:
    """Some of different depth, for what a user is told."""
    by_depth: dict[int, str] = {}
    for name in names:
        by_depth.setdefault(name.count("."), name)
    return ", ".join(by_depth[depth] for depth in sorted(by_depth)[:4])
