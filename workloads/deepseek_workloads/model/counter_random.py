"""Random numbers that are a pure function of a counter and a key: Philox4x32-10 (Salmon et al. 2011, Parallel
random numbers: as easy as 1, 2, 3).

No state, so that whoever computes a number, on whatever device and in whatever order, computes the same. It
does not know what the numbers are for.
"""

import torch
from torch import Tensor

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
WORDS = 4  # of 32 bits that one counter gives


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> Tensor:
    """int64 words below 2**32 that broadcast together, [...] each -> [..., 4], below 2**32 too."""
    (first, second, third, fourth), (low, high) = counter, key
    for _ in range(_ROUNDS):
        # int64 wraps around: the upper half of a product is right after a shift that is made unsigned.
        even, odd = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first, second, third, fourth = (
            ((odd >> 32) & _LOW) ^ second ^ low,
            odd & _LOW,
            ((even >> 32) & _LOW) ^ fourth ^ high,
            even & _LOW,
        )
        low, high = (low + _WEYL[0]) & _LOW, (high + _WEYL[1]) & _LOW
    return torch.stack([first, second, third, fourth], dim=-1)  # by now all of the shape of all
