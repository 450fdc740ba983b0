"""Changes that no watch reported are found by comparing resource versions."""

from typing import Any

from deepseek_operator.cluster.kinds import DATASET
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.watch_check import WatchCheck

DOCS = Key(DATASET, "research", "docs")


def _docs() -> dict[str, Any]:
    return {"metadata": {"namespace": "research", "name": "docs"}, "spec": {}}


def _version(cluster: Any) -> str:
    version: str = cluster.objects[("DeepSeekDataset", "research", "docs")]["metadata"]["resourceVersion"]
    return version


async def test_a_reported_change_is_not_missed(cluster: Any) -> None:
    cluster.add(DATASET, _docs())
    check = WatchCheck(cluster, namespaces=(), enqueue=lambda key: None)
    check.saw(DOCS, _version(cluster))
    assert [await check.check(), await check.check()] == [[], []]


async def test_a_change_still_under_way_is_only_suspected(cluster: Any) -> None:
    cluster.add(DATASET, _docs())
    check = WatchCheck(cluster, namespaces=(), enqueue=lambda key: None)
    assert await check.check() == []
    check.saw(DOCS, _version(cluster))
    assert await check.check() == []


async def test_a_change_unreported_for_a_whole_interval_is_reconciled(cluster: Any) -> None:
    cluster.add(DATASET, _docs())
    enqueued: list[Key] = []
    check = WatchCheck(cluster, namespaces=("research",), enqueue=enqueued.append)
    await check.check()
    assert await check.check() == [DOCS]
    assert enqueued == [DOCS]
    assert check.consecutive_misses == 1


async def test_a_watch_that_recovered_clears_the_misses(cluster: Any) -> None:
    cluster.add(DATASET, _docs())
    check = WatchCheck(cluster, namespaces=(), enqueue=lambda key: None)
    await check.check()
    await check.check()
    await check.check()
    assert check.consecutive_misses == 0


async def test_a_failing_api_server_is_no_missed_change(cluster: Any) -> None:
    cluster.add(DATASET, _docs())
    check = WatchCheck(cluster, namespaces=(), enqueue=lambda key: None)
    cluster.fail_at = 1
    assert await check.check() == []
    assert check.consecutive_misses == 0
