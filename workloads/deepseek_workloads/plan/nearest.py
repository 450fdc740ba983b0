"""The nearest valid numbers of a rule, for its remedy. Pure arithmetic."""

from collections.abc import Iterable
from math import isqrt


def multiples(value: int, unit: int) -> list[int]:
    """The multiples of `unit` next to `value`, positive."""
    below = value // unit * unit
    return [number for number in (below, below + unit) if number > 0]


def divisors_near(value: int, near: int) -> list[int]:
    """The divisors of `value` next to `near`."""
    small = [number for number in range(1, isqrt(value) + 1) if value % number == 0]
    every = sorted({*small, *(value // number for number in small)})
    below = [number for number in every if number <= near]
    above = [number for number in every if number > near]
    return below[-1:] + above[:1]


def either(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, numbers))
