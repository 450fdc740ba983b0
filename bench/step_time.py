"""`make bench-step-time`: fits the plan's model of step time to published rates (`step_time_points`), and
says its error on each of them when it is left out of the fit.

With `--scaling FILE`, lines of `make bench-scaling`, also on a core of this machine: each rate beside what
the plan's numbers say, beside a fit to the rates of this machine's other model, and beside a fit to those
and to the published ones. A model's rates are left out together: they are near to each other.
Nothing is measured here; the fit takes seconds.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from report import Point, emit
from scaling_points import model_of, points_of
from step_time_points import PUBLISHED, Known

from deepseek_workloads.plan.step_time import FITTED, Fitted, tokens_per_second

GOAL = 1 / 1.25  # of an error: within a quarter
_START = (0.35, 5e-3, 1e-4, 1.0)
_PRIOR = 0.001  # of the squared distance to the start, in logarithms: what few points do not tell stays there
_SMALLEST_STEP = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scaling", type=Path, help="lines of make bench-scaling, of one machine")
    arguments = parser.parse_args()
    for left_out in PUBLISHED:
        rest = fit([point for point in PUBLISHED if point is not left_out])
        _emit(left_out.name.replace(", ", "-").replace(" ", "-"), left_out, rest, "published")
    _emit_errors("error-of-all", [error(point, FITTED) for point in PUBLISHED])
    if arguments.scaling is not None:
        _of_machine(points_of(arguments.scaling.read_text().splitlines()))


def _of_machine(machine: Sequence[Known]) -> None:
    errors: dict[str, list[float]] = {}
    for left_out in machine:
        others = [point for point in machine if model_of(point) != model_of(left_out)]
        fits = {"published": FITTED}
        if others:
            fits |= {"machine": fit(others), "both": fit([*PUBLISHED, *others])}
        for name, fitted in fits.items():
            _emit(f"{left_out.name}-by-{name}", left_out, fitted, "measured")
            errors.setdefault(name, []).append(error(left_out, fitted))
    for name, found in errors.items():
        _emit_errors(f"error-of-machine-by-{name}", found)
    both = fit([*PUBLISHED, *machine])
    _emit_errors("error-of-published-by-both", [error(point, both) for point in PUBLISHED])


def _emit(name: str, point: Known, fitted: Fitted, peer: str) -> None:
    emit(
        Point(
            "step-time",
            name,
            [estimated(point, fitted)],
            "tokens/s of a GPU" if peer == "published" else "tokens/s of a core",
            GOAL,
            peer,
            [point.rate],
            higher_is_better=True,
        )
    )


def _emit_errors(name: str, errors: Sequence[float]) -> None:
    """`errors`: logarithms."""
    percent = sorted(100 * (math.exp(abs(each)) - 1) for each in errors)
    emit(Point("step-time", name, percent, "%", 25))


def estimated(point: Known, fitted: Fitted) -> float:
    return tokens_per_second(
        point.architecture, point.work, precision=point.precision, gpu=point.gpu, fitted=fitted
    )


def error(point: Known, fitted: Fitted) -> float:
    """Logarithm of estimated over known."""
    return math.log(estimated(point, fitted) / point.rate)


def fit(points: Sequence[Known], *, smallest_step: float = _SMALLEST_STEP) -> Fitted:
    """The least squares of the logarithms' errors, each to about `smallest_step`."""
    first = [math.log(value) for value in _START]
    known = [(_terms(point), math.log(point.rate)) for point in points]

    def loss(logarithms: Sequence[float]) -> float:
        products, expert_layers, layers, network = (math.exp(value) for value in logarithms)
        numbers = (1 / products, expert_layers, layers, 1 / network)
        away = sum((value - start) ** 2 for value, start in zip(logarithms, first, strict=True))
        errors = [
            math.log(sum(a * b for a, b in zip(terms, numbers, strict=True))) + rate for terms, rate in known
        ]
        return sum(error**2 for error in errors) + _PRIOR * away

    return Fitted(*(math.exp(value) for value in _descended(loss, first, smallest_step)))


def _terms(point: Known) -> tuple[float, ...]:
    """Seconds of a token are a sum of the four numbers, or of their inverses, each times one of these."""

    def seconds(fitted: Fitted) -> float:
        return 1 / estimated(point, fitted)

    alone = seconds(Fitted(1, 0, 0, math.inf))
    others = (Fitted(1, 1, 0, math.inf), Fitted(1, 0, 1, math.inf), Fitted(1, 0, 0, 1))
    return (alone, *(seconds(fitted) - alone for fitted in others))


def _descended(
    loss: Callable[[Sequence[float]], float], start: Sequence[float], smallest_step: float
) -> list[float]:
    """One coordinate at a time, with steps that halve when none helps: four numbers need no more."""
    place, best, step = list(start), loss(start), 1.0
    while step > smallest_step:
        moved = False
        for index in range(len(place)):
            for by in (step, -step):
                tried = [value + by * (number == index) for number, value in enumerate(place)]
                if (found := loss(tried)) < best:
                    place, best, moved = tried, found, True
        if not moved:
            step /= 2
    return place


if __name__ == "__main__":
    main()
