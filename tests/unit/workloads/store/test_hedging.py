"""When a second request goes out, and whose answer counts. Time is what the requests wait for."""

import asyncio

import pytest

from deepseek_workloads.store.hedging import Hedging


class Requests:
    """The first of each pair never ends, unless it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0

    async def stuck_then_quick(self) -> str:
        self.begun += 1
        if self.begun > 1:
            return "copy"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "never"


async def _quick() -> str:
    return "quick"


async def _experienced(**options: float) -> Hedging:
    hedging = Hedging(least_seconds=0.001, **options)
    for _ in range(40):
        assert await hedging.run(_quick) == "quick"
    return hedging


async def test_a_straggler_is_overtaken_by_its_copy_and_given_up() -> None:
    hedging, requests = await _experienced(), Requests()
    assert await hedging.run(requests.stuck_then_quick) == "copy"
    await asyncio.sleep(0)  # the event loop tells the straggler
    assert (requests.begun, requests.cancelled, hedging.copies) == (2, 1, 1)


async def test_nothing_is_copied_before_it_is_known_what_is_usual() -> None:
    hedging = Hedging(least_seconds=0.001)
    assert hedging.delay() is None


async def test_copies_stay_a_small_share_of_the_requests() -> None:
    hedging = await _experienced(share=0.05)
    for _ in range(2):  # 5 % of 40 requests and these
        await hedging.run(Requests().stuck_then_quick)
    assert hedging.copies == 2
    for _ in range(2):
        if hedging.delay() is not None:
            await hedging.run(Requests().stuck_then_quick)
    assert hedging.copies <= 0.05 * 44 + 1
    assert hedging.delay() is None


async def test_what_fails_at_once_is_not_copied_and_raises() -> None:
    hedging = await _experienced()

    async def fails() -> str:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        await hedging.run(fails)
    assert hedging.copies == 0


async def test_a_copy_that_fails_leaves_the_first_its_chance() -> None:
    hedging, second_failed = await _experienced(), asyncio.Event()
    begun = 0

    async def slow_first_bad_copy() -> str:
        nonlocal begun
        begun += 1
        if begun == 2:
            second_failed.set()
            raise ConnectionError("the copy")
        await second_failed.wait()
        return "first"

    assert await hedging.run(slow_first_bad_copy) == "first"
    assert hedging.copies == 1
