"""The population stability index of two histograms. Pure; it does not know what is counted.

PSI = sum over bins of (a - e) * ln(a / e) with the shares a and e: 0 where they are equal, and the same with
both exchanged. By the usual rule of thumb less than 0.1 is no change worth a look, more than 0.25 a large
one."""

import math
from collections.abc import Mapping

Histogram = Mapping[str, float]  # counts by bin

EXPECTED_AT_LEAST = 5.0  # documents of the sample in a bin of its own; rarer ones are counted together
_REST = "\0rest"


def population_stability_index(expected: Histogram, sample: Histogram) -> float:
    """Bins that hardly occur in `expected` are one, together with those that it has not: a hundred languages
    of a document each are no drift. A share of nothing counts as half a document of the sample. 0 of no
    documents."""
    of_expected, of_sample = sum(expected.values()), sum(sample.values())
    if not of_expected or not of_sample:
        return 0.0
    frequent = [
        name for name, count in expected.items() if count / of_expected * of_sample >= EXPECTED_AT_LEAST
    ]
    least = 0.5 / of_sample
    total = 0.0
    for name in (*frequent, _REST):
        e = _count(expected, name, frequent) / of_expected
        a = _count(sample, name, frequent) / of_sample
        if a or e:
            total += _term(max(a, least), max(e, least))
    return total


def _count(counts: Histogram, name: str, frequent: list[str]) -> float:
    if name == _REST:
        return sum(count for each, count in counts.items() if each not in frequent)
    return counts.get(name, 0)


def _term(a: float, e: float) -> float:
    return (a - e) * math.log(a / e)
