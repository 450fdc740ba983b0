"""One pass over a key: what becomes of its result and of each kind of failure."""

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
