"""Work is done only while the Lease is held, and the Lease is given up when the work ends."""

import asyncio
import time
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from deepseek_operator.cluster.leader_election import LeaseLost, LeaseTimes, lead

TIMES = LeaseTimes(duration=3, renew_deadline=1.3, retry=1.0)


class LockInMemory:
    """A Lease that nobody else has, until the test takes it away."""

    name, namespace, identity = "lease", "deepseek-system", "me"

    def __init__(self) -> None:
        self.record: Any = None
        self.renewed_at = 0.0
        self.answers = asyncio.Event()  # not set: updates hang
        self.answers.set()
        self.reachable = True
        self.released = False

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        if not self.reachable:
            return False, ApiException(status=0, reason="no connection")
        if self.record is None:
            return False, ApiException(status=404, reason="Not Found", body='{"code": 404}')
        return True, self.record

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        self.record = election_record
        self.renewed_at = time.monotonic()
        return True

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        await self.answers.wait()
        self.record = updated_record
        self.renewed_at = time.monotonic() if self.reachable else self.renewed_at
        return self.reachable

    async def release(self) -> None:
        self.released = True


async def _lead(lock: LockInMemory, work: Any, stop: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await lead(lock, times=TIMES, work=work, stop=stop)  # type: ignore[arg-type]


async def test_a_stopped_leader_ends_its_work_and_gives_the_lease_up() -> None:
    lock, stop, ended = LockInMemory(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            stop.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    await _lead(lock, work, stop)
    assert ended.is_set()
    assert lock.released


async def test_a_standby_that_is_stopped_never_works() -> None:
    lock, stop = LockInMemory(), asyncio.Event()
    lock.reachable = False
    stop.set()

    async def work() -> None:
        raise AssertionError("nobody but the holder of the Lease may work")

    await _lead(lock, work, stop)
    assert not lock.released


async def test_a_lease_that_cannot_be_renewed_ends_the_work() -> None:
    lock, ended = LockInMemory(), asyncio.Event()

    async def work() -> None:
        lock.reachable = False
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(LeaseLost):
        await _lead(lock, work, asyncio.Event())
    assert ended.is_set()
    assert not lock.released  # it may be another's by now


async def test_a_renewal_that_is_under_way_does_not_prolong_the_lease() -> None:
    """A try that was begun in time may end when another process leads already."""
    lock, ended = LockInMemory(), asyncio.Event()

    async def work() -> None:
        lock.answers.clear()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(LeaseLost):  # and not TimeoutError: the update never ends
        await _lead(lock, work, asyncio.Event())
    assert ended.is_set()
    assert not lock.released


async def test_what_the_work_fails_with_is_not_hidden() -> None:
    async def work() -> None:
        raise ValueError("a defect")

    lock = LockInMemory()
    with pytest.raises(ValueError, match="a defect"):
        await _lead(lock, work, asyncio.Event())
    assert lock.released  # a standby need not wait
