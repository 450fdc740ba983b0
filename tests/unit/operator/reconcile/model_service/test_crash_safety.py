"""The operator is killed after any of its writes, in the life of a service: the end is the same.

The write has its effect, its answer is lost. Killed before a write is killed after the one before it, since
nothing is remembered. After every pass, cut off or not, requests go to replicas of checked clusters only.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from deepseek_operator.cluster.interface import ClusterError
from deepseek_operator.cluster.kinds import MODEL_SERVICE


class Life:
    """A service rolls out two revisions, the second beside the first, and refuses a third."""

    def __init__(self, serving: Any) -> None:
        self.serving, self.cluster = serving, serving.cluster
        self.checked: set[str] = set()  # clusters that have passed their check
        serving.settle = self.settle

    async def settle(self) -> None:
        """Passes until one is neither cut off nor has an effect. Each begins with nothing in memory."""
        world = self.serving.world
        for _ in range(60):
            before = world.effects()
            world.dependencies = type(world.dependencies)()
            self.serving.control()
            cut_off = False
            try:
                await world.reconcile(MODEL_SERVICE, "chat")
            except ClusterError:
                cut_off = True
            assert self.serving.clusters(self.serving.requests_go_to()) <= self.checked
            if world.effects() == before and not cut_off:
                return
        raise AssertionError(f"the operator goes on writing: {self.cluster.writes[-10:]}")

    async def live(self) -> None:
        serving = self.serving
        serving.add_revision("r1")
        serving.add_service(replicas={"min": 1, "max": 1})
        await self.roll_out("r1")
        serving.clock.advance(60)
        serving.add_revision("r2")
        await self.roll_out("r2")
        serving.clock.advance(60)
        serving.add_revision("r3")
        await serving.start_coordinator("r3")
        serving.fail("r3", reason="CheckFailed", message="worse")
        await self.let_go()

    async def roll_out(self, revision: str) -> None:
        await self.serving.start_coordinator(revision)
        await self.serving.start_replicas(revision)
        self.checked |= self.serving.clusters(self.serving.replicas(revision))
        self.serving.say(revision, checked=True)
        await self.settle()
        for _ in range(2):
            await self.serving.pass_time()
        await self.let_go()

    async def let_go(self) -> None:
        for _ in range(3):
            await self.settle()
            self.cluster.let_go_terminating()
        await self.settle()

    def end(self) -> dict[str, Any]:
        created = [write for write in self.cluster.writes if write.startswith(("create Pod", "delete"))]
        return {
            "objects": sorted(key for key in self.cluster.objects if key[0] != "Event"),
            "status": json.dumps(self.serving.status(), sort_keys=True),
            "told": sorted(self.cluster.events()),
            "done": sorted(created),
        }


async def _live(new_serving: Callable[[], Any], *, lose_answer_at: int | None = None) -> Life:
    life = Life(new_serving())
    life.cluster.lose_answer_at = lose_answer_at
    await life.live()
    return life


@pytest.fixture
def undisturbed(new_serving: Callable[[], Any]) -> Life:
    return asyncio.run(_live(new_serving))


def test_the_undisturbed_life_ends_with_the_second_revision(undisturbed: Life) -> None:
    status = undisturbed.serving.status()
    assert (status["active"]["revision"], status["candidate"]["phase"]) == ("r2", "Failed")
    assert status["retired"] == []
    assert len(undisturbed.serving.objects("ConfigMap")) == 2
    assert undisturbed.cluster.calls > 100


def test_killed_after_any_write_the_end_is_the_same(
    undisturbed: Life, new_serving: Callable[[], Any]
) -> None:
    """Events are told before the status, and told again with it."""
    expected, cluster = undisturbed.end(), undisturbed.cluster
    for write, call in zip(cluster.writes, cluster.write_calls, strict=True):
        if not write.startswith("create Event"):
            life = asyncio.run(_live(new_serving, lose_answer_at=call))
            assert life.end() == expected, write
