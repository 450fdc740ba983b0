"""Old images go, so that a disk does not fill; what is new or in use stays."""

from hypothesis import given
from hypothesis import strategies as st

from deepseek_demo.images.prune import KEPT, MIN_AGE_SECONDS, Stored, superseded

OLD = 10 * MIN_AGE_SECONDS


def images(count: int, repository: str = "localhost/worker") -> list[Stored]:
    """The first is the oldest; all are old enough to go."""
    return [Stored((f"{repository}:{number}",), float(number)) for number in range(count)]


def test_the_newest_of_each_repository_stay() -> None:
    both = images(KEPT + 1) + images(KEPT + 2, "localhost/operator")
    assert superseded(both, in_use=(), now=OLD) == [
        "localhost/operator:0",
        "localhost/operator:1",
        "localhost/worker:0",
    ]


def test_an_image_in_use_stays_however_old_it_is() -> None:
    assert superseded(images(KEPT + 1), in_use=("localhost/worker:0",), now=OLD) == []


def test_an_image_that_was_just_made_stays() -> None:
    assert superseded(images(KEPT + 1), in_use=(), now=MIN_AGE_SECONDS / 2) == []


def test_all_names_of_an_image_go_together() -> None:
    twice = [Stored(("localhost/worker:key", "localhost/worker:id"), 0.0), *images(KEPT)]
    assert superseded(twice, in_use=(), now=OLD) == ["localhost/worker:key", "localhost/worker:id"]


@given(st.lists(st.floats(0, 1e6), max_size=8), st.floats(0, 2e6))
def test_never_fewer_than_are_kept_remain(created: list[float], now: float) -> None:
    found = [Stored((f"localhost/worker:{number}",), time) for number, time in enumerate(created)]
    removed = superseded(found, in_use=(), now=now)
    assert len(found) - len(removed) >= min(KEPT, len(found))
