"""One pass over a key: what becomes of its result and of each kind of failure."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from deepseek_operator.cluster.interface import Conflict, Forbidden, Unavailable
from deepseek_operator.cluster.kinds import TRAINING_JOB
from deepseek_operator.metrics import Metrics
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.work_queue import WorkQueue
from deepseek_operator.reconcile.worker import Workers

JOB = Key(TRAINING_JOB, "research", "job")


def _raising(error: Exception) -> Callable[[Key], Awaitable[float | None]]:
    async def reconcile(key: Key) -> float | None:
        raise error

    return reconcile


async def _pass(reconcile: Callable[[Key], Awaitable[float | None]]) -> tuple[str, WorkQueue]:
    queue = WorkQueue()
    workers = Workers(queue, reconcilers={TRAINING_JOB: reconcile}, metrics=Metrics(), timeout_seconds=5)
    queue.add(JOB)
    result = await workers.reconcile_once(await queue.get())
    queue.close()
    return result, queue


async def test_success_leaves_no_failure() -> None:
    async def reconcile(key: Key) -> float | None:
        return None

    result, queue = await _pass(reconcile)
    assert (result, queue.failures(JOB)) == ("done", 0)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Conflict("changed"), "conflict"),
        (Unavailable("503"), "unavailable"),
        (Forbidden("quota"), "unavailable"),
        (TimeoutError(), "unavailable"),
        (ValueError("a defect"), "error"),
    ],
)
async def test_a_failed_pass_is_tried_again(error: Exception, result: str) -> None:
    outcome, queue = await _pass(_raising(error))
    assert (outcome, queue.failures(JOB)) == (result, 1)


async def test_a_pass_that_outlives_its_limit_is_no_longer_healthy() -> None:
    entered, now = asyncio.Event(), 1000.0

    async def reconcile(key: Key) -> float | None:
        entered.set()
        await asyncio.Event().wait()
        return None

    queue = WorkQueue()
    workers = Workers(
        queue,
        reconcilers={TRAINING_JOB: reconcile},
        metrics=Metrics(),
        timeout_seconds=60,
        monotonic=lambda: now,
    )
    running = asyncio.create_task(workers.run(1))
    queue.add(JOB)
    async with asyncio.timeout(30):
        await entered.wait()
    now += 119
    assert workers.hung() == ""
    now += 1
    assert workers.hung() == f"the pass over {JOB} has taken 120 s, its limit is 60 s"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    queue.close()


async def test_the_depth_of_the_queue_is_the_present_one() -> None:
    queue, metrics = WorkQueue(), Metrics()
    metrics.watch_queue(queue.__len__)
    for expected in (0, 1):
        assert metrics.registry.get_sample_value("deepseek_operator_queue_depth") == expected
        queue.add(JOB)
