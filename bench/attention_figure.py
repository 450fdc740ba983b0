"""Draws what `attention.py` has printed: standard input to an SVG, of time and of memory by length.

    make bench-attention | tee lines.jsonl
    python bench/attention_figure.py <lines.jsonl >docs/attention.svg

Both axes are logarithmic. Where a kind becomes cheaper than dense attention is marked, between the lengths
measured. It does not measure.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

DENSE = "gqa"
COLOURS: Mapping[str, str] = MappingProxyType(
    {"gqa": "#334155", "mla": "#4f46e5", "slidingWindow": "#16a34a", "lsh": "#ca8a04"}
)
TITLES: Mapping[str, str] = MappingProxyType(
    {"ms": "Time of forward and backward, ms", "MiB": "Peak memory, MiB"}
)
_WIDTH, _HEIGHT, _LEFT, _TOP = 420, 300, 70, 60  # of a panel, and what stands before it
_STEP = _WIDTH + 150  # from one panel to the next

Curve = Mapping[int, float]  # by length


def main() -> None:
    curves = curves_of(json.loads(line) for line in sys.stdin if line.strip())
    sys.stdout.write(draw(curves))


def curves_of(points: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[int, float]]]:
    """Medians by unit, kind and length, of the lines of `make bench-attention`."""
    curves: dict[str, dict[str, dict[int, float]]] = {}
    for point in points:
        kind, length, unit = point["point"].rsplit("-", 2)
        curves.setdefault(unit, {}).setdefault(kind, {})[int(length)] = point["value"]
    return curves


def crossing(curve: Curve, dense: Curve) -> float | None:
    """The length from which on `curve` stays below `dense`, by straight lines between logarithms; None: it
    does not, or has been below from the first length on."""
    lengths = sorted(curve.keys() & dense.keys())
    gaps = [math.log(curve[length] / dense[length]) for length in lengths]
    above = [place for place, gap in enumerate(gaps) if gap >= 0]
    if not above or above[-1] == len(gaps) - 1:
        return None
    last = above[-1]
    share = gaps[last] / (gaps[last] - gaps[last + 1])
    return float(lengths[last] * (lengths[last + 1] / lengths[last]) ** share)


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` -> pixels from `begin` to `end`, by their logarithms."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        return self.begin + (self.end - self.begin) * math.log(value / self.low) / math.log(
            self.high / self.low
        )

    def ticks(self) -> list[float]:
        """1, 2 and 5 times the powers of ten between the ends."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
        values = [float(digit * 10**exponent) for exponent in exponents for digit in (1, 2, 5)]
        return [value for value in values if self.low <= value <= self.high]


def draw(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """An SVG of a panel a unit."""
    width = _LEFT + _STEP * len(curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 60}" '
        'font-family="Helvetica,Arial,sans-serif" font-size="12.5">',
        "<title>Time and memory of attention by the length of a sequence</title>",
        f'<rect width="{width}" height="{_TOP + _HEIGHT + 60}" fill="#ffffff"/>',
    ]
    for number, (unit, of_unit) in enumerate(curves.items()):
        parts += _panel(TITLES[unit], of_unit, left=_LEFT + number * _STEP)
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, curves: Mapping[str, Curve], *, left: float) -> list[str]:
    lengths = sorted({length for curve in curves.values() for length in curve})
    values = [value for curve in curves.values() for value in curve.values()]
    across = _Axis(lengths[0], lengths[-1], left, left + _WIDTH)
    up = _Axis(min(values) / 1.2, max(values) * 1.2, _TOP + _HEIGHT, _TOP)
    parts = [_text(left, _TOP - 18, title, "#0f172a", more='font-weight="bold"')]
    for length in lengths:
        parts.append(_line([(across.at(length), _TOP), (across.at(length), _TOP + _HEIGHT)], "#e2e8f0"))
        parts.append(_text(across.at(length), _TOP + _HEIGHT + 18, str(length), "#475569", "middle"))
    for value in up.ticks():
        parts.append(_line([(left, up.at(value)), (left + _WIDTH, up.at(value))], "#e2e8f0"))
        parts.append(_text(left - 8, up.at(value) + 4, f"{value:g}", "#475569", "end"))
    parts.append(_text(left + _WIDTH / 2, _TOP + _HEIGHT + 38, "tokens of a sequence", "#475569", "middle"))
    labels: list[float] = []
    for kind, curve in sorted(curves.items(), key=lambda item: -item[1][max(item[1])]):
        places = [(across.at(length), up.at(curve[length])) for length in sorted(curve)]
        parts.append(_line(places, COLOURS[kind], thickness=2))
        height = max([places[-1][1] + 4, *(label + 15 for label in labels[-1:])])  # none over another
        labels.append(height)
        parts.append(_text(left + _WIDTH + 6, height, kind, COLOURS[kind]))
        where = crossing(curve, curves[DENSE]) if kind != DENSE else None
        if where is not None:
            parts += _mark(across.at(where), COLOURS[kind], f"{kind} cheaper from {where:.0f}", len(labels))
    return parts


def _mark(across: float, colour: str, text: str, row: int) -> list[str]:
    height = _TOP + 14 * row
    return [
        _line([(across, _TOP), (across, _TOP + _HEIGHT)], colour, more='stroke-dasharray="4 4"'),
        _text(across - 5, height, text, colour, "end"),
    ]


def _line(places: Sequence[tuple[float, float]], colour: str, *, thickness: float = 1, more: str = "") -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{thickness}" {more}/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start", *, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" {more}>{text}</text>'


if __name__ == "__main__":
    main()
