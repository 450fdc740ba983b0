"""Rules that the settings of several stages share. Pure."""

from collections import Counter


def check_named_once(what: str, names: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r}: is named more than once: leave out all but one")


def check_order(least: str, low: float, most: str, high: float | None) -> None:
    if high is not None and low > high:
        raise ValueError(f"{least} {low} is more than {most} {high}: nothing would be left: exchange them")


def check_one_of(first: str, has_first: bool, second: str, has_second: bool) -> None:
    if has_first == has_second:
        raise ValueError(f"{first}, {second}: give one of the two")
