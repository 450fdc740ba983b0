"""Events are told once, however often a pass is repeated."""

from typing import Any

from deepseek_operator.cluster.kinds import DATASET
from deepseek_operator.reconcile.events import build_event, tell
from deepseek_operator.status.events import ResourceEvent


def _dataset(cluster: Any) -> Any:
    return cluster.add(
        DATASET,
        {
            "apiVersion": "deepseek.dev/v1alpha1",
            "kind": "DeepSeekDataset",
            "metadata": {"namespace": "research", "name": "docs"},
            "spec": {},
        },
    )


async def _tell(cluster: Any, clock: Any, resource: Any, *events: ResourceEvent) -> None:
    await tell(cluster, events, resource=resource, now=clock.now(), reporting_instance="operator-1")


async def test_a_repeated_pass_tells_nothing_twice(cluster: Any, clock: Any) -> None:
    dataset, event = _dataset(cluster), ResourceEvent("Normal", "Ready", "the dataset is ready")
    await _tell(cluster, clock, dataset, event)
    clock.advance(60)
    await _tell(cluster, clock, dataset, event)
    assert cluster.events() == [("Ready", "the dataset is ready")]


async def test_the_same_words_on_another_occasion_are_told_again(cluster: Any, clock: Any) -> None:
    dataset = _dataset(cluster)
    for pod in ("pod-1", "pod-2"):
        await _tell(cluster, clock, dataset, ResourceEvent("Warning", "NodeLost", "lost", occasion=pod))
    assert len(cluster.events()) == 2


async def test_a_long_note_is_cut_to_what_the_server_takes(cluster: Any, clock: Any) -> None:
    event = ResourceEvent("Warning", "Failed", "数" * 1000)
    document = build_event(event, resource=_dataset(cluster), now=clock.now(), reporting_instance="o")
    assert len(document["note"].encode()) <= 1024
    assert document["note"].endswith(" ...")
