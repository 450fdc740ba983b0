"""Which revision a service brings up."""

from typing import Any


async def test_the_newest_revision_of_the_model_is_served(serving: Any) -> None:
    serving.add_revision("r9")
    serving.clock.advance(60)
    serving.add_revision("r1")
    serving.add_revision("r2", model="other")
    serving.add_service()
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r1"


async def test_a_revision_that_is_being_deleted_is_not_brought_up(serving: Any) -> None:
    serving.add_revision("r1")
    serving.clock.advance(60)
    serving.add_revision("r2")
    going = serving.cluster.objects[("DeepSeekModelRevision", "research", "r2")]
    going["metadata"]["deletionTimestamp"] = "2026-11-22T12:01:00Z"
    serving.add_service()
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r1"


async def test_a_job_can_name_the_service_for_its_revision(serving: Any) -> None:
    serving.add_revision("r1")
    serving.clock.advance(60)
    serving.add_revision("r2", model="tuned", serviceRef={"name": "chat"})
    serving.add_service()
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r2"


async def test_a_service_that_names_its_revision_is_led_by_no_job(serving: Any) -> None:
    serving.add_revision("r1")
    serving.clock.advance(60)
    serving.add_revision("r2", serviceRef={"name": "chat"})
    serving.add_service(model={"revisionRef": {"name": "r1"}})
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r1"


async def test_a_revision_outside_of_object_storage_is_refused(serving: Any) -> None:
    serving.add_revision("r1", storageUri="ftp://somewhere/model")
    serving.add_service()
    await serving.settle()
    assert serving.condition("Accepted") == ("False", "InvalidStorageUri")
    assert serving.cluster.pods() == []


async def test_a_revision_that_cannot_be_read_stands_in_no_others_way(serving: Any) -> None:
    serving.add_revision("r1")
    serving.clock.advance(60)
    serving.add_revision("r2", digest="none")
    serving.add_revision("x1", model="another", digest="none")
    serving.add_service()
    await serving.roll_out("r1")
    assert serving.status()["active"]["revision"] == "r1"
    serving.edit(model={"revisionRef": {"name": "r2"}})
    await serving.settle()
    assert serving.condition("RevisionFound") == ("False", "RevisionNotFound")
    assert "cannot be read" in serving.message("RevisionFound")
    assert serving.status()["active"]["revision"] == "r1"
