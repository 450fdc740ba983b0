"""What is minimised beside the loss of the next token, by name: the parts that a trainer sums and reports."""

from collections.abc import Iterable, Mapping

from torch import Tensor

BALANCE_LOSS = "balanceLoss"  # of each sequence's experts
LOAD_BALANCE_LOSS = "loadBalanceLoss"  # of the global batch's experts
MTP_LOSS = "mtpLoss"  # of the tokens after the next
HEAD_GATE_LOSS = "headGateLoss"  # of heads that are open
INDEXER_LOSS = "indexerLoss"  # of the indexer's choice from attention's own weights
DISTILLATION_LOSS = "distillationLoss"  # of what a teacher foresees
CONSOLIDATION_LOSS = "consolidationLoss"  # of weights that older data needs


def summed(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By name, over layers or passes."""
    total: dict[str, Tensor] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total
