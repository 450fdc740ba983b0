"""The driver's connections to its worker pods, over real sockets; the pods are played by the test."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.launch.horovod_launcher import Launcher, WorkersMissing
from deepseek_workloads.launch.horovod_protocol import Ending, Launch, Slot, line_of
from deepseek_workloads.supervise.epoch_protocol import Hello, hello_line

SECONDS = 20
DONE = Verdict(outcome="Succeeded", reason=reasons.COMPLETED)
CRASHED = Failure(kind="failed", reason=reasons.PROCESS_CRASHED, rank=1)
PEER_LOST = Failure(kind="try-again", reason=reasons.PEER_LOST, rank=0)


def plan(pods: list[str]) -> list[Slot]:
    size = len(pods)
    return [
        Slot(hostname=pod, rank=at, local_rank=0, cross_rank=at, size=size, local_size=1, cross_size=size)
        for at, pod in enumerate(pods)
    ]


class Pod:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def launched(self) -> Launch:
        async with asyncio.timeout(SECONDS):
            return Launch.model_validate_json(await self.reader.readline())

    async def turned_away(self) -> bool:
        async with asyncio.timeout(SECONDS):
            return await self.reader.readline() == b""

    def tell(self, ending: Ending) -> None:
        self.writer.write(line_of(ending))


class Driver:
    def __init__(self, launcher: Launcher, port: int) -> None:
        self.launcher, self.port = launcher, port
        self.told: list[int] = []
        self.pods: list[Pod] = []

    def run(self, *, seconds: float = SECONDS) -> "asyncio.Task[Verdict | Failure]":
        return asyncio.create_task(self.launcher.run(startup_seconds=seconds, waiting=self.told.append))

    async def pod(self, index: int, *, name: str = "", token: str = "secret") -> Pod:
        pod = await self.stranger()
        pod.writer.write(hello_line(Hello(token=token, pod=name or f"pod-{index}", index=index)))
        return pod

    async def stranger(self) -> Pod:
        self.pods.append(Pod(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.pods[-1]


@pytest_asyncio.fixture
async def driver() -> AsyncIterator[Driver]:
    launcher = Launcher(token="secret", nodes=2, term=[0, 4], plan=plan)
    driver = Driver(launcher, await launcher.listen("127.0.0.1", 0))
    yield driver
    await launcher.close()
    for pod in driver.pods:
        pod.writer.close()


async def test_ranks_start_when_every_pod_is_there(driver: Driver) -> None:
    running = driver.run()
    second = await driver.pod(1)
    first = await driver.pod(0)
    launches = [await first.launched(), await second.launched()]
    assert [[slot.rank for slot in launch.slots] for launch in launches] == [[0], [1]]
    assert all(launch.term == [0, 4] for launch in launches)
    assert driver.told[-1] < 2
    running.cancel()


async def test_pods_that_do_not_come_are_counted(driver: Driver) -> None:
    await driver.pod(0)
    with pytest.raises(WorkersMissing, match="of 2 worker pods"):
        await driver.run(seconds=0.3)


async def test_the_verdict_of_rank_0_ends_the_run(driver: Driver) -> None:
    running = driver.run()
    pods = [await driver.pod(0), await driver.pod(1)]
    for rank, pod in enumerate(pods):
        await pod.launched()
        pod.tell(Ending(rank=rank, verdict=DONE))
    assert await running == DONE


async def test_a_crash_explains_the_lost_peer_that_was_heard_of_first(driver: Driver) -> None:
    running = driver.run()
    first, second = await driver.pod(0), await driver.pod(1)
    await first.launched()
    await second.launched()
    first.tell(Ending(rank=0, failure=PEER_LOST))
    second.tell(Ending(rank=1, failure=CRASHED))
    assert await running == CRASHED


async def test_a_pod_that_goes_takes_its_ranks_with_it(driver: Driver) -> None:
    running = driver.run()
    first, second = await driver.pod(0), await driver.pod(1)
    await first.launched()
    await second.launched()
    second.writer.close()
    failure = await running
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason, failure.rank) == ("try-again", reasons.PEER_LOST, 1)
    assert "pod-1" in failure.message


async def test_before_the_start_a_pod_may_be_replaced(driver: Driver) -> None:
    running = driver.run()
    await driver.pod(1, name="old")
    async with asyncio.timeout(SECONDS):
        while 1 not in driver.told:  # noqa: ASYNC110 - the launcher tells no event
            await asyncio.sleep(0.005)
    second = await driver.pod(1, name="new")
    first = await driver.pod(0)
    await first.launched()
    assert [slot.hostname for slot in (await second.launched()).slots] == ["new"]
    running.cancel()


@pytest.mark.parametrize("line", [b"\n", b"not json\n", b"x" * 100_000 + b"\n"])
async def test_what_does_not_speak_the_protocol_is_turned_away(driver: Driver, line: bytes) -> None:
    running = driver.run()
    stranger = await driver.stranger()
    stranger.writer.write(line)
    assert await stranger.turned_away()
    running.cancel()


async def test_another_jobs_token_is_turned_away(driver: Driver) -> None:
    running = driver.run()
    stranger = await driver.pod(0, token="guess")
    assert await stranger.turned_away()
    assert driver.told in ([], [0])
    running.cancel()
