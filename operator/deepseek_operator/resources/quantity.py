"""Kubernetes quantities as numbers and back. Only the forms that the API types let through."""

from decimal import Decimal
from typing import Final

_FACTORS: Final = {
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
}


def parse_quantity(text: str) -> Decimal:
    """`500m` is 0.5, `3Gi` is 3221225472. Raises decimal.InvalidOperation for what is no quantity."""
    for suffix, factor in _FACTORS.items():
        if text.endswith(suffix):
            return Decimal(text.removesuffix(suffix)) * factor
    return Decimal(text)


def parse_bytes(text: str) -> int:
    return int(parse_quantity(text))


def format_bytes(size: int) -> str:
    """Two digits or more: `3.1Gi`, `512Mi`."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        value = size / int(_FACTORS[suffix])
        if value >= 1:
            return f"{value:.{1 if value < 10 else 0}f}".removesuffix(".0") + suffix
    return str(size)
