"""Quantities as Kubernetes reads them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.resources.quantity import format_bytes, parse_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("2k", "2000"),
        ("3Gi", "3221225472"),
        ("1G", "1000000000"),
        ("1Ti", "1099511627776"),
    ],
)
def test_parse(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (2048, "2Ki"), (150_000_000, "143Mi"), (3221225472, "3Gi")]
)
def test_format(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(min_value=1, max_value=2**55))
def test_what_is_formatted_is_within_a_tenth(size: int) -> None:
    assert abs(parse_bytes(format_bytes(size)) - size) <= size * 0.1
