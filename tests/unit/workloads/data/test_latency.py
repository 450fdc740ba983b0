"""The mean time of reads between two looks."""

from itertools import count

import pytest

from deepseek_workloads.data.latency import Latency


def test_it_is_the_mean_of_the_calls_since_the_last_look() -> None:
    times = iter([0.0, 1.0, 10.0, 13.0, 20.0, 21.0])
    latency = Latency(lambda: next(times))
    for _ in range(2):
        with latency.measured():
            pass
    assert latency.take() == 2.0
    assert latency.take() is None
    with latency.measured():
        pass
    assert latency.take() == 1.0


def test_a_call_that_fails_has_no_latency() -> None:
    ticks = count()
    latency = Latency(lambda: float(next(ticks)))
    with pytest.raises(OSError, match="gone"), latency.measured():
        raise OSError("gone")
    assert latency.take() is None
