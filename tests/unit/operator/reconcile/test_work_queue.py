"""The work queue: one worker a key, nothing lost, nothing done twice at once."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.cluster.kinds import DATASET, TRAINING_JOB
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.work_queue import Backoff, WorkQueue

A = Key(TRAINING_JOB, "research", "a")
B = Key(DATASET, "research", "b")


async def _next(queue: WorkQueue) -> Key:
    async with asyncio.timeout(5):
        return await queue.get()


async def test_keys_come_in_the_order_of_their_addition() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add(B)
    assert [await _next(queue), await _next(queue)] == [A, B]


async def test_a_key_added_many_times_is_worked_on_once() -> None:
    queue = WorkQueue()
    for _ in range(3):
        queue.add(A)
    await _next(queue)
    assert len(queue) == 0


async def test_a_key_added_while_being_worked_on_waits_until_it_is_done() -> None:
    queue = WorkQueue()
    queue.add(A)
    await _next(queue)
    queue.add(A)
    assert len(queue) == 0
    queue.done(A)
    assert await _next(queue) == A


async def test_a_key_comes_back_after_the_asked_time() -> None:
    queue = WorkQueue()
    queue.add(A)
    await _next(queue)
    queue.done(A, after=0.01)
    assert await _next(queue) == A


async def test_an_event_comes_before_the_timer_and_replaces_it() -> None:
    queue = WorkQueue()
    queue.add(A)
    await _next(queue)
    queue.done(A, after=3600)
    queue.add(A)
    assert await _next(queue) == A
    assert len(queue) == 0


async def test_failures_in_a_row_wait_longer_and_success_forgets_them() -> None:
    queue = WorkQueue(backoff=Backoff(first=0.01, factor=2, cap=1), jitter=lambda: 0.999999)
    delays = []
    for _ in range(3):
        queue.add(A)
        delays.append(queue.failed(await _next(queue)))
    assert [round(delay, 3) for delay in delays] == [0.01, 0.02, 0.04]
    queue.add(A)
    queue.done(await _next(queue))
    assert queue.failures(A) == 0


async def test_a_failed_key_comes_back_by_itself() -> None:
    queue = WorkQueue(backoff=Backoff(first=0.01))
    queue.add(A)
    queue.failed(await _next(queue))
    assert await _next(queue) == A


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_longer_than_the_cap_nor_shorter_than_half_its_step(
    failures: int, jitter: float
) -> None:
    backoff = Backoff(first=0.5, factor=2.0, cap=60.0)
    step = min(60.0, 0.5 * 2.0 ** min(failures - 1, 32))
    assert step / 2 <= backoff.delay(failures, jitter=jitter) <= step


@given(st.lists(st.sampled_from(["add A", "add B", "work", "finish"]), max_size=40))
def test_no_addition_is_lost_and_no_key_has_two_workers(actions: list[str]) -> None:
    asyncio.run(_play(actions))


async def _play(actions: list[str]) -> None:
    queue, working, pending = WorkQueue(), [], set()
    for action in actions:
        if action.startswith("add"):
            key = A if action.endswith("A") else B
            queue.add(key)
            pending.add(key)
        elif action == "work" and len(queue):
            key = await _next(queue)
            assert key not in working
            working.append(key)
            pending.discard(key)
        elif action == "finish" and working:
            queue.done(working.pop(0))
    while working:
        queue.done(working.pop(0))
    drained = {await _next(queue) for _ in range(len(queue))}
    assert drained == pending
