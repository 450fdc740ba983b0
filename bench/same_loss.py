"""Two sides of a comparison do the same work: their losses before and after a first update say so."""

from collections.abc import Sequence

# Of the loss, before any update and after one. An update moves it by 1 to 3 %; what is left is the order of
# sums, tokens that it turns to another expert, and biases of a router that move on one side only.
TOLERANCES = {"fp32": (1e-5, 5e-4), "bf16": (5e-4, 2e-3)}


def require_same_loss(ours: Sequence[float], theirs: Sequence[float], *, dtype: str, peer: str) -> None:
    """Raises ValueError where a loss is further from ours than `dtype` and the order of sums explain."""
    for step, (our, their, tolerance) in enumerate(zip(ours, theirs, TOLERANCES[dtype], strict=True)):
        off = abs(their / our - 1)
        if not off <= tolerance:  # also of a loss that is no number
            raise ValueError(
                f"{peer}: loss {their:.6f} after {step} updates, ours {our:.6f}, {off:.1e} apart in {dtype}, "
                f"{tolerance:.0e} is allowed: the two do not do the same, their times say nothing"
            )
