"""Numbers as people read them. Locale-free, so that two operators write the same status."""

from typing import Final

from deepseek_operator.api.meta import NamedValue
from deepseek_operator.api.schema import measured

_SHORT: Final = 256  # bounds of ShortText and LongText in the CRD
_LONG: Final = 4096
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SHORT_DIGEST: Final = 12


def duration(seconds: float) -> str:
    """The two largest units: `1h12m`, `2d3h`, `45s`."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def percent(done: int, total: int) -> str:
    """Rounded down, so that 100% means done: `37%`. Empty while the total is unknown."""
    return f"{min(100, 100 * done // total)}%" if total > 0 else ""


def loss(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e6 else measured(value)


def named_values(values: dict[str, float]) -> list[NamedValue]:
    """Sorted by name."""
    return [NamedValue(name=name[:64], value=measured(values[name])) for name in sorted(values)]


def short_digest(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT_DIGEST]


def short(text: str) -> str:
    return _cut(text, _SHORT)


def long(text: str) -> str:
    return _cut(text, _LONG)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."
