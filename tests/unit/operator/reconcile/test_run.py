"""The life of a training job and of a dataset: what exists after each turn of events."""

import json
from typing import Any

import pytest

from deepseek_operator.cluster.interface import Forbidden
from deepseek_operator.cluster.kinds import CONFIG_MAP, DATASET, MODEL_REVISION, TRAINING_JOB
from deepseek_workloads.contract.messages import Progress, Verdict

COORDINATOR = "dsjob-tiny-coordinator-1"
WORKERS = ["dsjob-tiny-worker-0-1", "dsjob-tiny-worker-1-1"]
DIGEST = "sha256:" + "d" * 64
SUCCESS = Verdict(
    outcome="Succeeded",
    reason="Completed",
    message="20 steps",
    step=20,
    epoch=1,
    digest=DIGEST,
    uri="s3://bucket/tiny/exports/x",
    evaluation={"held_out_bits_per_byte": 2.1},
)
PREPARED = Verdict(outcome="Succeeded", reason="Completed", uri="s3://bucket/docs", digest=DIGEST,
                   statistics={"documents": 10, "tokens": 1000})  # fmt: skip


async def test_a_job_starts_with_its_objects_and_the_coordinator_alone(world: Any) -> None:
    world.add_job()
    await world.settle()
    kinds = sorted(
        kind for kind, _, _ in world.cluster.objects if kind not in ("Event", "DeepSeekTrainingJob")
    )
    assert kinds == ["ConfigMap", "NetworkPolicy", "Pod", "Secret", "Service"]
    assert world.cluster.pods() == [COORDINATOR]
    assert world.condition("Accepted") == ("True", "Accepted")
    assert world.status()["runConfigDigest"].startswith("sha256:")


async def test_workers_start_when_the_preflight_has_passed(world: Any) -> None:
    world.add_job()
    await world.settle()
    world.cluster.start_pod(COORDINATOR, ready=False)
    await world.settle()
    assert world.cluster.pods() == [COORDINATOR]
    world.cluster.start_pod(COORDINATOR, ready=True)
    await world.settle()
    assert world.cluster.pods() == [COORDINATOR, *WORKERS]


async def test_progress_reaches_the_status(world: Any) -> None:
    world.add_job()
    await world.start()
    status = world.status()
    assert (status["state"], status["step"], status["progress"], status["loss"]) == (
        "Training",
        5,
        "25%",
        "7.5000",
    )
    assert world.condition("Running") == ("True", "Running")


async def test_a_running_job_is_looked_at_every_two_seconds_and_written_only_when_it_changed(
    world: Any,
) -> None:
    world.add_job()
    await world.start()
    writes = len(world.cluster.writes)
    assert await world.reconcile() == 2.0
    assert len(world.cluster.writes) == writes


async def test_success_frees_the_nodes_keeps_the_logs_and_records_the_model(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.finish_pod(COORDINATOR, verdict=SUCCESS)
    await world.settle()
    world.cluster.let_go_terminating()
    assert await world.settle() is None
    assert world.cluster.pods() == [COORDINATOR]
    assert world.status()["state"] == "Succeeded"
    revision = world.cluster.objects[("DeepSeekModelRevision", "research", "tiny-dddddddd")]
    assert revision["spec"]["digest"] == DIGEST
    assert revision["spec"]["provenance"]["jobRef"]["name"] == "tiny"
    assert world.status()["export"]["revision"] == "tiny-dddddddd"


async def test_a_finished_job_stays_finished_when_its_last_pod_is_gone(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.finish_pod(COORDINATOR, verdict=SUCCESS)
    await world.settle()
    for pod in world.cluster.pods():
        world.cluster.remove_pod(pod)
    await world.settle()
    assert world.cluster.pods() == []
    assert world.status()["state"] == "Succeeded"
    assert world.status()["export"]["revision"] == "tiny-dddddddd"


async def test_the_finished_pod_goes_when_its_time_is_over(world: Any) -> None:
    world.add_job(runPolicy={"ttlSecondsAfterFinished": 100})
    await world.start()
    world.cluster.finish_pod(COORDINATOR, verdict=SUCCESS)
    await world.settle()
    world.cluster.let_go_terminating()
    assert await world.settle() == 100.0
    world.clock.advance(101)
    await world.settle()
    assert world.cluster.pods() == []


async def test_a_failed_verdict_ends_the_job_with_its_reason(world: Any) -> None:
    world.add_job()
    await world.settle()
    world.cluster.start_pod(COORDINATOR, ready=False)
    verdict = Verdict(outcome="Failed", reason="InvalidCredentials", message="403 from s3", exit_code=3)
    world.cluster.finish_pod(COORDINATOR, exit_code=3, verdict=verdict)
    await world.settle()
    assert world.condition("Failed") == ("True", "InvalidCredentials")
    assert world.cluster.pods() == [COORDINATOR]  # no worker was ever started
    assert ("InvalidCredentials", "403 from s3") in world.cluster.events()


async def test_a_coordinator_without_a_verdict_is_replaced_and_workers_stay(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.finish_pod(COORDINATOR, exit_code=137)
    await world.settle()
    assert world.cluster.active_pods() == ["dsjob-tiny-coordinator-2", *WORKERS]
    assert world.status()["failures"] == 1


async def test_a_pod_that_vanished_without_a_trace_gets_a_successor_of_another_name(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.remove_pod(WORKERS[1])
    await world.settle()
    assert world.cluster.pods() == [COORDINATOR, WORKERS[0], "dsjob-tiny-worker-1-2"]


async def test_workers_find_the_new_coordinator_not_the_one_that_hangs_on_a_lost_node(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.pod(COORDINATOR)["metadata"]["deletionTimestamp"] = world.clock.stamp()
    await world.settle()
    service = world.cluster.objects[("Service", "research", "dsjob-tiny-coordinator")]
    assert service["spec"]["selector"]["deepseek.dev/incarnation"] == "2"
    assert "dsjob-tiny-coordinator-2" in world.cluster.pods()


@pytest.mark.parametrize("reason", ["Evicted", "Preempting", "NodeShutdown"])
async def test_a_disruption_never_counts_against_the_backoff_limit(world: Any, reason: str) -> None:
    world.add_job(runPolicy={"backoffLimit": 0})
    await world.start()
    world.cluster.finish_pod(WORKERS[0], exit_code=143)
    world.cluster.pod(WORKERS[0])["status"]["reason"] = reason
    await world.settle()
    assert "dsjob-tiny-worker-0-2" in world.cluster.active_pods()
    assert world.status().get("failures", 0) == 0
    assert world.condition("Failed")[0] == "False"


async def test_out_of_memory_ends_the_job_when_its_retries_are_used_up(world: Any) -> None:
    world.add_job()  # backoffLimit 1
    await world.start()
    for incarnation in (1, 2):
        world.cluster.finish_pod(f"dsjob-tiny-worker-0-{incarnation}", exit_code=137, reason="OOMKilled")
        await world.settle()
    assert world.condition("Failed") == ("True", "OOMKilled")
    message = world.cluster.condition(TRAINING_JOB, "tiny", "Failed")["message"]
    assert "its limit is 3Gi" in message
    assert "estimate" in message
    world.cluster.let_go_terminating()
    await world.settle()
    world.cluster.let_go_terminating()
    assert world.cluster.active_pods() == []


async def test_an_image_that_cannot_be_pulled_frees_its_node_after_the_startup_deadline(world: Any) -> None:
    world.add_job()  # startupDeadlineSeconds 60
    await world.settle()
    world.cluster.wait_pod(COORDINATOR, reason="ImagePullBackOff", message="no such image")
    await world.settle()
    assert world.condition("PodsReady") == ("False", "ImagePullFailed")
    world.clock.advance(61)
    await world.settle()
    assert world.condition("Failed") == ("True", "ImagePullFailed")
    world.cluster.let_go_terminating()
    assert world.cluster.pods() == []


async def test_a_job_that_does_not_fit_waits_as_long_as_it_takes_and_says_why(world: Any) -> None:
    world.add_job()
    await world.settle()
    world.cluster.unschedulable_pod(COORDINATOR, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    world.clock.advance(10_000)
    await world.settle()
    assert world.status()["state"] == "Pending"
    condition = world.cluster.condition(TRAINING_JOB, "tiny", "PodsReady")
    assert "2 Insufficient nvidia.com/gpu" in condition["message"]
    assert world.condition("Failed")[0] == "False"


async def test_the_active_deadline_ends_a_run(world: Any) -> None:
    world.add_job(runPolicy={"activeDeadlineSeconds": 100})
    await world.start()
    world.clock.advance(101)
    await world.settle()
    assert world.condition("Failed") == ("True", "DeadlineExceeded")


async def test_a_bad_spec_is_refused_before_any_pod(world: Any) -> None:
    world.add_job(model={"preset": "deepseek-v3-tinny"})
    assert await world.settle() is None
    assert world.cluster.pods() == []
    assert world.condition("Accepted")[0] == "False"
    message = world.cluster.condition(TRAINING_JOB, "tiny", "Accepted")["message"]
    assert "deepseek-v3-tiny" in message
    assert world.status()["state"] == "Refused"


async def test_suspending_asks_the_run_to_stop_and_then_frees_everything(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await world.settle()
    ip, control, token = world.coordinators.pushed[-1]
    assert (ip, control.desired_state, control.generation) == ("10.0.0.1", "Stopped", 2)
    assert len(token) == 64
    assert world.cluster.active_pods() == [COORDINATOR, *WORKERS]  # the checkpoint is being written
    world.cluster.finish_pod(COORDINATOR, verdict=Verdict(outcome="Stopped", reason="Stopped", step=7))
    del world.coordinators.answers["10.0.0.1"]
    await world.settle()
    world.cluster.let_go_terminating()
    await world.settle()
    world.cluster.let_go_terminating()
    assert await world.settle() is None
    assert world.cluster.pods() == []
    assert world.condition("Suspended") == ("True", "Suspended")


async def test_a_run_that_does_not_stop_is_deleted_after_a_while(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    world.clock.advance(5)
    await world.settle()
    world.clock.advance(961)
    await world.settle()
    assert world.cluster.active_pods() == [COORDINATOR]
    world.cluster.let_go_terminating()
    await world.settle()
    assert world.cluster.active_pods() == []


async def test_a_run_that_does_not_know_the_operator_is_ended_at_once_and_says_so(world: Any) -> None:
    """After the operator was installed anew, with another key."""
    world.add_job()
    await world.start()
    world.coordinators.refuse = True
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await world.settle()
    assert world.condition("ControlAccepted") == ("False", "ControlRefused")
    assert "dsjob-tiny-token-" in world.cluster.condition(TRAINING_JOB, "tiny", "ControlAccepted")["message"]
    assert "ControlRefused" in [reason for reason, _ in world.cluster.events()]
    assert world.cluster.active_pods() == [COORDINATOR]  # it goes last: the checkpoint is written through it
    world.cluster.let_go_terminating()
    await world.settle()
    assert world.cluster.active_pods() == []


async def test_a_coordinator_that_is_not_reached_is_waited_for(world: Any) -> None:
    world.add_job()
    await world.start()
    world.coordinators.answers.clear()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await world.settle()
    assert len(world.cluster.active_pods()) == 3
    assert world.condition("ControlAccepted") == ("", "")


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy"])
async def test_what_somebody_changed_or_deleted_beside_the_pods_is_put_right(world: Any, kind: str) -> None:
    world.add_job()
    await world.start()
    ((key, wanted),) = [each for each in world.cluster.objects.items() if each[0][0] == kind]
    for change in ({"selector": {"app": "mine"}, "podSelector": {}}, None):
        if change is None:
            del world.cluster.objects[key]
        else:
            world.cluster.objects[key] = {**wanted, "spec": {**wanted["spec"], **change}}
        await world.settle()
        world.clock.advance(30)
        await world.settle()
        assert {name: world.cluster.objects[key]["spec"][name] for name in wanted["spec"]} == wanted["spec"]
    writes = len(world.cluster.writes)
    world.clock.advance(30)
    await world.settle()
    assert len(world.cluster.writes) == writes


async def test_a_model_that_cannot_be_recorded_is_told_and_tried_again(world: Any) -> None:
    world.add_job(runPolicy={"ttlSecondsAfterFinished": 100})
    await world.start()
    create = world.cluster.create

    async def refuse(kind: Any, document: Any) -> Any:
        if kind == MODEL_REVISION:
            raise Forbidden("exceeded quota: count/deepseekmodelrevisions=5")
        return await create(kind, document)

    world.cluster.create = refuse
    world.cluster.finish_pod(COORDINATOR, verdict=SUCCESS)
    await world.settle()
    world.cluster.let_go_terminating()
    assert await world.settle() == 10.0
    assert world.status()["state"] == "Succeeded"
    assert world.condition("RevisionRecorded") == ("False", "RevisionRefused")
    assert "exceeded quota" in world.cluster.condition(TRAINING_JOB, "tiny", "RevisionRecorded")["message"]
    assert "RevisionRefused" in [reason for reason, _ in world.cluster.events()]
    world.clock.advance(1000)  # the pod holds the verdict: its time is not over before the record
    await world.settle()
    assert world.cluster.pods() == [COORDINATOR]
    world.cluster.create = create
    await world.settle()
    assert world.condition("RevisionRecorded") == ("True", "Recorded")
    assert world.status()["export"]["revision"] == "tiny-dddddddd"
    assert world.cluster.pods() == []


async def test_a_suspended_job_goes_on_when_it_is_resumed(world: Any) -> None:
    world.add_job(suspend=True)
    await world.settle()
    assert world.cluster.pods() == []
    assert world.condition("Suspended") == ("True", "Suspended")
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    await world.settle()
    assert world.cluster.pods() == [COORDINATOR]
    assert world.condition("Suspended") == ("False", "NotSuspended")


async def test_a_run_that_stopped_although_it_should_run_goes_on(world: Any) -> None:
    world.add_job(runPolicy={"backoffLimit": 0})
    await world.start()
    world.cluster.finish_pod(COORDINATOR, verdict=Verdict(outcome="Stopped", reason="Stopped"))
    await world.settle()
    assert "dsjob-tiny-coordinator-2" in world.cluster.active_pods()
    assert world.condition("Failed")[0] == "False"


async def test_a_job_waits_for_its_dataset_and_pins_its_digest(world: Any) -> None:
    sources = [{"name": "docs", "datasetRef": {"name": "docs"}}]
    world.add_job(data={"sources": sources, "sequenceLength": 128})
    await world.settle()
    assert world.condition("DatasetsReady") == ("False", "DatasetNotReady")
    assert world.cluster.pods() == []
    world.add_dataset()
    await world.start(DATASET, "docs", prefix="dsdata-docs")
    world.cluster.finish_pod("dsdata-docs-coordinator-1", verdict=PREPARED)
    await world.settle(DATASET, "docs")
    assert world.status(DATASET, "docs")["state"] == "Succeeded"
    await world.settle()
    assert world.cluster.pods()[-1] == COORDINATOR
    assert world.status()["datasets"] == [{"name": "docs", "uri": "s3://bucket/docs", "digest": DIGEST}]


async def test_a_job_waits_for_the_dataset_that_it_is_evaluated_on(world: Any) -> None:
    world.add_job(evaluation={"sources": [{"name": "exams", "datasetRef": {"name": "docs"}}]})
    await world.settle()
    assert world.condition("DatasetsReady") == ("False", "DatasetNotReady")
    assert world.cluster.pods() == []


@pytest.mark.parametrize("reference", [{"revisionRef": {"name": "base-2"}}, {"modelName": "base"}])
async def test_a_job_waits_for_the_model_to_start_from_and_pins_it(
    world: Any, reference: dict[str, Any]
) -> None:
    world.add_job(model={"preset": "deepseek-v3-tiny", "initFrom": reference})
    await world.settle()
    assert world.condition("DatasetsReady") == ("False", "DatasetNotReady")
    for number in (1, 2):
        world.cluster.add(MODEL_REVISION, revision_document(f"base-{number}", model_name="base"))
    await world.settle()
    config = world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]["data"]["run-config.json"]
    pinned = json.loads(config)["initFrom"]
    assert (pinned["uri"], pinned["digest"]) == ("s3://models/base-2", DIGEST)


@pytest.mark.parametrize("reference", [{"revisionRef": {"name": "base-1"}}, {"modelName": "base"}])
async def test_a_revision_that_nobody_can_read_is_refused_where_it_is_recorded_and_where_it_is_used(
    world: Any, reference: dict[str, Any]
) -> None:
    location = {"endpointUrl": "http://s3:99999"}
    world.cluster.add(
        MODEL_REVISION, revision_document("base-1", model_name="base", storageLocation=location)
    )
    await world.settle(MODEL_REVISION, "base-1")
    assert world.condition("Accepted", MODEL_REVISION, "base-1") == ("False", "InvalidEndpointUrl")
    world.add_job(model={"preset": "deepseek-v3-tiny", "initFrom": reference})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InvalidEndpointUrl")
    assert world.cluster.pods() == []


def revision_document(name: str, *, model_name: str, **more: Any) -> dict[str, Any]:
    spec = {"storageUri": f"s3://models/{name}", "digest": DIGEST, "modelName": model_name, **more}
    return {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": "DeepSeekModelRevision",
        "metadata": {"name": name, "namespace": "research", "uid": name},
        "spec": spec,
    }


NOW = "2026-01-01T00:00:00Z"


async def test_a_dataset_waits_for_the_one_whose_tokenizer_it_takes(world: Any) -> None:
    world.add_dataset(tokenizer={"datasetRef": {"name": "base"}})
    await world.settle(DATASET, "docs")
    assert world.cluster.pods() == []
    assert "base" in world.cluster.condition(DATASET, "docs", "PodsReady")["message"]
    succeeded = {"type": "Succeeded", "status": "True", "reason": "Completed", "lastTransitionTime": NOW}
    ready = {"conditions": [succeeded], "uri": "s3://b/base", "digest": DIGEST}
    document = {**world.cluster.objects[("DeepSeekDataset", "research", "docs")], "status": ready}
    document["metadata"] = {"name": "base", "namespace": "research", "uid": "uid-base"}
    world.cluster.add(DATASET, document)
    await world.settle(DATASET, "docs")
    config = world.cluster.objects[("ConfigMap", "research", "dsdata-docs-run")]["data"]["run-config.json"]
    assert json.loads(config)["tokenizerUri"] == "s3://b/base/manifest.json"


async def test_a_job_says_that_its_dataset_failed(world: Any) -> None:
    world.add_job(data={"sources": [{"name": "docs", "datasetRef": {"name": "docs"}}], "sequenceLength": 128})
    world.add_dataset(sources=[{"name": "raw", "uri": "s3://"}])
    await world.settle(DATASET, "docs")
    await world.settle()
    message = world.cluster.condition(TRAINING_JOB, "tiny", "DatasetsReady")["message"]
    assert "docs" in message
    assert "Refused" in message


async def test_a_foreign_object_is_never_taken(world: Any) -> None:
    foreign = {"metadata": {"name": "dsjob-tiny-run", "namespace": "research"}, "data": {}}
    world.cluster.add(CONFIG_MAP, foreign)
    world.add_job()
    assert await world.settle() == 10.0
    assert world.condition("Accepted") == ("False", "NameConflict")
    assert world.cluster.pods() == []
    del world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]
    await world.settle()
    assert world.cluster.pods() == [COORDINATOR]


async def test_a_run_config_is_never_rendered_again(world: Any) -> None:
    world.add_job()
    await world.start()
    config_map = world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]
    digest = world.status()["runConfigDigest"]
    world.cluster.edit_spec(TRAINING_JOB, "tiny", runPolicy={"backoffLimit": 1, "ttlSecondsAfterFinished": 5})
    world.cluster.finish_pod(WORKERS[0], exit_code=1)
    await world.settle()
    assert world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")] == config_map
    assert world.status()["runConfigDigest"] == digest


async def test_a_deleted_run_config_comes_back_as_it_was(world: Any) -> None:
    world.add_job()
    await world.start()
    digest = world.status()["runConfigDigest"]
    del world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]
    await world.settle()
    assert ("ConfigMap", "research", "dsjob-tiny-run") in world.cluster.objects
    assert world.status()["runConfigDigest"] == digest


async def test_a_run_config_that_cannot_come_back_never_stops_a_run_that_has_its_pods(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", runPolicy={"startupDeadlineSeconds": 61})
    del world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]
    await world.settle()
    assert world.cluster.active_pods() == [COORDINATOR, *WORKERS]
    message = world.cluster.condition(TRAINING_JOB, "tiny", "PodsReady")["message"]
    assert "dsjob-tiny-run" in message


async def test_nothing_happens_to_a_job_that_is_being_deleted(world: Any) -> None:
    world.add_job()
    job = world.cluster.objects[("DeepSeekTrainingJob", "research", "tiny")]
    job["metadata"]["deletionTimestamp"] = world.clock.stamp()
    assert await world.reconcile() is None
    assert world.cluster.writes == []


async def test_events_are_not_repeated(world: Any) -> None:
    world.add_job()
    await world.start()
    told = world.cluster.events()
    for step in range(6, 10):
        world.coordinators.answers["10.0.0.1"] = Progress(phase="Training", step=step, total_steps=20)
        await world.reconcile()
    assert world.cluster.events() == told
    assert len(told) == len(set(told))


async def test_a_pinned_endpoint_that_no_pod_could_reach_is_told(world: Any) -> None:
    """Accepted by an older operator; the run config never changes."""
    world.add_job(suspend=True)
    await world.settle()
    config_map = world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]
    document = config_map["data"]["run-config.json"].replace("http://s3:7070", "ftp://s3:70700")
    config_map["data"]["run-config.json"] = document
    world.cluster.status(TRAINING_JOB, "tiny").pop("runConfigDigest")
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    assert await world.settle() == 10.0
    assert world.cluster.pods() == []
    assert world.condition("PodsReady") == ("False", "RefusedByCluster")
    message = world.cluster.condition(TRAINING_JOB, "tiny", "PodsReady")["message"]
    assert "'ftp://s3:70700'" in message
    assert "create the resource again" in message
