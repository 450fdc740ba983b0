"""Stateless permutations: position i of a shuffle of any size in constant time and memory.

Integer arithmetic only, so that the order never depends on a library's version. It does not know samples.
`permute_many` and `mix_many` say the same as `permute` and `mix` for many indices at once, in NumPy.
"""

from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
Hashes = npt.NDArray[np.uint64]

_MASK = (1 << 64) - 1
_ROUNDS = 8  # even, so that left and right end where they began


def mix(*values: int) -> int:
    """A 64-bit hash of integers (the finalizer of SplitMix64, Steele et al. 2014, chained)."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state ^ (value & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def mix_many(first: int, values: Integers) -> Hashes:
    """`mix(first, value)` of each value."""
    state = np.uint64(mix(first)) ^ values.astype(np.uint64)
    state += np.uint64(0x9E3779B97F4A7C15)  # integers of arrays wrap, as the mask makes those of Python
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def permute(index: int, *, size: int, key: int) -> int:
    """Where `index` of 0..size-1 goes in the permutation named by `key`.

    A Feistel network over Z_a x Z_b with a*b >= size, walked until it lands inside (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains"); a*b exceeds size by less than sqrt(size) + 1.
    """
    if not 0 <= index < size:
        raise ValueError(f"index {index} is outside of 0..{size - 1}")
    width = isqrt(size - 1) + 1
    height = -(-size // width)
    while True:
        right, left = divmod(index, width)
        for number in range(_ROUNDS):
            modulus = height if number % 2 else width
            left, right = right, (left + mix(key + number, right)) % modulus
        index = width * right + left
        if index < size:
            return index


def permute_many(indices: Integers, *, size: int, key: int) -> npt.NDArray[np.int64]:
    """`permute` of each index."""
    if indices.size and not (indices.min() >= 0 and indices.max() < size):
        raise ValueError(f"an index of {indices.min()}..{indices.max()} is outside of 0..{size - 1}")
    width = isqrt(size - 1) + 1
    height = -(-size // width)
    images = indices.astype(np.int64)
    walking = np.arange(len(images))
    while walking.size:
        right, left = np.divmod(images[walking], width)
        for number in range(_ROUNDS):
            modulus = height if number % 2 else width
            # Reduced before it is added: the sum of the two may not fit into 64 bits.
            drawn = (mix_many(key + number, right) % np.uint64(modulus)).astype(np.int64)
            left, right = right, (left + drawn) % modulus
        images[walking] = width * right + left
        walking = walking[images[walking] >= size]
    return images


def inverse_permute(image: int, *, size: int, key: int) -> int:
    """The index that `permute` sends to `image`."""
    if not 0 <= image < size:
        raise ValueError(f"image {image} is outside of 0..{size - 1}")
    width = isqrt(size - 1) + 1
    height = -(-size // width)
    while True:
        right, left = divmod(image, width)
        for number in reversed(range(_ROUNDS)):
            modulus = height if number % 2 else width
            left, right = (right - mix(key + number, left)) % modulus, left
        image = width * right + left
        if image < size:
            return image


def permuted_positions(size: int, *, key: int) -> list[int]:
    """The whole permutation of a small range, by sorting hashes."""
    order: list[int] = np.argsort(mix_many(key, np.arange(size)), kind="stable").tolist()
    return order
