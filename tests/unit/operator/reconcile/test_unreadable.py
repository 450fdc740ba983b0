"""A resource that another release has stored and this one cannot read: no loop without words."""

from typing import Any

import pytest

from deepseek_operator.cluster.kinds import DATASET, MODEL_SERVICE, TRAINING_JOB, Kind


def add(world: Any, kind: Kind) -> str:
    if kind == MODEL_SERVICE:
        spec = {"model": {"modelName": "tiny"}, "replicas": {"min": 1, "max": 1}}
        metadata = {"name": "chat", "namespace": "research"}
        document = {
            "apiVersion": "deepseek.dev/v1alpha1",
            "kind": kind.kind,
            "metadata": metadata,
            "spec": spec,
        }
        world.cluster.add(kind, document)
        return "chat"
    (world.add_job if kind == TRAINING_JOB else world.add_dataset)()
    return "tiny" if kind == TRAINING_JOB else "docs"


@pytest.mark.parametrize("kind", [TRAINING_JOB, DATASET, MODEL_SERVICE], ids=lambda kind: kind.kind)
async def test_it_is_told_once_and_nothing_of_it_is_touched(world: Any, kind: Kind) -> None:
    name = add(world, kind)
    await world.settle(kind, name)
    pods, status = world.cluster.pods(), world.status(kind, name)
    world.cluster.edit_spec(kind, name, image="x" * 1000, suspend="perhaps")
    writes = len(world.cluster.writes)
    assert await world.settle(kind, name) is None
    assert world.cluster.writes[writes:] == [f"status {kind.kind} {name}"]
    assert world.condition("Accepted", kind, name) == ("False", "Unreadable")
    message = world.cluster.condition(kind, name, "Accepted")["message"]
    assert "spec.suspend" in message
    assert "correct the fields" in message
    assert world.status(kind, name)["state"] == "Refused"
    assert world.cluster.pods() == pods
    kept = {key: value for key, value in status.items() if key not in ("state", "conditions")}
    assert kept.items() <= world.status(kind, name).items()


async def test_it_goes_on_once_it_can_be_read(world: Any) -> None:
    world.add_job(image="x" * 1000)
    await world.settle()
    assert world.cluster.pods() == []
    world.cluster.edit_spec(TRAINING_JOB, "tiny", image="registry/worker:2")
    await world.settle()
    assert world.condition("Accepted") == ("True", "Accepted")
    assert world.cluster.pods() == ["dsjob-tiny-coordinator-1"]


async def test_a_dataset_that_cannot_be_read_is_waited_for(world: Any) -> None:
    world.add_dataset(deduplicate="perhaps")
    world.add_job(data={"sources": [{"name": "docs", "datasetRef": {"name": "docs"}}], "sequenceLength": 128})
    await world.settle()
    assert world.condition("DatasetsReady") == ("False", "DatasetNotReady")
    assert "cannot be read" in world.cluster.condition(TRAINING_JOB, "tiny", "DatasetsReady")["message"]
