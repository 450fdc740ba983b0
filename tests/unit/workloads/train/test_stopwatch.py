"""Where time goes, with a clock of the test's own."""

from deepseek_workloads.train.stopwatch import Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_seconds_add_up_to_the_total() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for _ in range(2):
        with watch.part("train"):
            clock.now += 3
        with watch.part("checkpoint"):
            clock.now += 1
    clock.now += 2
    assert watch.seconds == {"train": 6, "checkpoint": 2, "other": 2, "total": 10}


def test_a_part_that_fails_is_counted() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    try:
        with watch.part("data"):
            clock.now += 3
            raise KeyError
    except KeyError:
        pass
    assert watch.seconds["data"] == 3


def test_speed_is_that_of_the_newest_steps() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    assert watch.tokens_per_second is None
    for seconds in [100.0] + [2.0] * 20:
        with watch.step(lambda: 10):
            clock.now += seconds
        clock.now += 50  # a checkpoint between steps
    assert watch.tokens_per_second == 5
    assert watch.seconds_per_step == 2
