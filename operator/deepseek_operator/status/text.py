"""Numbers as people read them. Locale-free, so that two operators write the same status."""

from math import isnan
from typing import Final

from deepseek_operator.api.meta import NamedValue
from deepseek_operator.api.schema import measured

_SHORT: Final = 256  # bounds of ShortText and LongText in the CRD
_LONG: Final = 4096
_URI: Final = 2048
_NAME: Final = 64
_MAX_COUNT: Final = 2**53 - 1
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SHORT_DIGEST: Final = 12


def duration(seconds: float) -> str:
    """The two largest units: `1h12m`, `2d3h`, `45s`."""
    left = count(round(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        whole, left = divmod(left, size)
        if whole or parts:
            parts.append(f"{whole}{unit}" if whole else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def percent(done: int, total: int) -> str:
    """Rounded down, so that 100% means done: `37%`. Empty while the total is unknown."""
    return f"{min(100, 100 * done // total)}%" if total > 0 else ""


def loss(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e6 else measured(value)


def named_values(values: dict[str, float], *, limit: int) -> list[NamedValue]:
    """Sorted by name, at most `limit`."""
    named = {name[:_NAME] or "unnamed": value for name, value in sorted(values.items())}
    return [NamedValue(name=name, value=measured(value)) for name, value in named.items()][:limit]


def count(value: float) -> int:
    """A number of a tenant's pod as a count that every reader of JSON can hold."""
    if isnan(value):
        return 0
    return round(min(max(0, value), _MAX_COUNT))


def short_digest(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT_DIGEST]


def short(text: str) -> str:
    return _cut(text, _SHORT)


def uri(text: str) -> str:
    return _cut(text, _URI)


def long(text: str) -> str:
    return _cut(text, _LONG)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."
