"""The path that the project exists for: a dataset, a job, its progress in kubectl, the model in S3."""

import json

import pytest
from harness.kubectl import condition, conditions_in_words
from harness.platform import Platform
from harness.resources import BATCH, STEPS
from harness.run_history import RunHistory


@pytest.fixture(scope="module")
def history(platform: Platform, undisturbed: str) -> RunHistory:
    return platform.history(undisturbed)


def test_the_dataset_is_ready_with_its_digest_and_statistics(platform: Platform, dataset: str) -> None:
    status = platform.get("dsdata", dataset)["status"]
    assert status["digest"].startswith("sha256:")
    assert status["documents"] > 0
    assert status["tokens"] > 0


def test_kubectl_shows_the_finished_job_in_its_columns(platform: Platform, undisturbed: str) -> None:
    header, row = platform.kubectl.run("get", "dsjob", undisturbed).splitlines()
    assert header.split() == ["NAME", "STATE", "STEP", "PROGRESS", "LOSS", "TOKENS/S", "ETA", "AGE"]
    assert row.split()[:4] == [undisturbed, "Succeeded", str(STEPS), "100%"]


def test_the_job_says_what_it_needed_before_it_ran(platform: Platform, undisturbed: str) -> None:
    plan = platform.get("dsjob", undisturbed)["status"]["plan"]
    assert plan["parameters"] > plan["activeParameters"] > 0
    assert plan["totalSteps"] == STEPS


def test_the_model_is_better_than_the_unigram_baseline(platform: Platform, undisturbed: str) -> None:
    evaluation = platform.evaluation(undisturbed)
    assert 0 < evaluation["held_out_bits_per_byte"] < evaluation["unigram_bits_per_byte"]


def test_every_step_is_recorded_with_the_samples_it_took(history: RunHistory) -> None:
    assert sorted(history.steps) == list(range(1, STEPS + 1))
    seen = [sample for batches in history.sample_ids().values() for batch in batches for sample in batch]
    assert len(seen) == len(set(seen)) == BATCH * STEPS


def test_the_log_is_dense_and_ends_with_the_export(
    platform: Platform, undisturbed: str, history: RunHistory
) -> None:
    assert history.epochs == [1]
    assert history.log[-1]["kind"] == "export"
    exported = platform.get("dsjob", undisturbed)["status"]["export"]
    assert history.log[-1]["digest"] == exported["digest"]


def test_the_export_answers_for_its_provenance(platform: Platform, undisturbed: str, dataset: str) -> None:
    status = platform.get("dsjob", undisturbed)["status"]
    manifest = json.loads(platform.bucket.read(f"{status['export']['uri'].rstrip('/')}/manifest.json"))
    assert manifest["provenance"]["ownerName"] == undisturbed
    assert manifest["provenance"]["datasetDigests"] == [platform.get("dsdata", dataset)["status"]["digest"]]
    assert {entry["key"].rsplit("/", 1)[-1] for entry in manifest["files"]} >= {
        "config.json",
        "tokenizer.json",
    }


def test_a_revision_records_the_model(platform: Platform, undisturbed: str) -> None:
    export = platform.get("dsjob", undisturbed)["status"]["export"]
    revision = platform.get("dsrev", export["revision"])
    assert revision["spec"]["digest"] == export["digest"]


def test_workers_are_gone_and_the_coordinators_log_is_kept(platform: Platform, undisturbed: str) -> None:
    pods = platform.pods(undisturbed)
    assert [pod["metadata"]["labels"]["deepseek.dev/role"] for pod in pods] == ["coordinator"]
    assert platform.kubectl.logs(pods[0]["metadata"]["name"])


def test_events_tell_the_story_in_words(platform: Platform, undisturbed: str) -> None:
    reasons = [event["reason"] for event in platform.kubectl.events(undisturbed)]
    assert reasons.count("Completed") + reasons.count("Succeeded") == 1
    assert all(event["message"] for event in platform.kubectl.events(undisturbed))


def test_a_suspended_job_frees_its_nodes_and_goes_on_where_it_was(platform: Platform, dataset: str) -> None:
    name = platform.apply_job("suspended", dataset, {"training": {"steps": 2 * STEPS}})
    platform.wait_for_step(name, 25)
    platform.kubectl.patch("dsjob", name, {"spec": {"suspend": True}})
    job = platform.wait_for_condition(name, "Suspended", deadline_seconds=60)
    assert platform.pods(name) == [], conditions_in_words(job)
    assert job["status"]["lastCheckpointStep"] == job["status"]["step"], "where it will go on"
    platform.kubectl.patch("dsjob", name, {"spec": {"suspend": False}})
    job = platform.wait_until_finished(name)
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    assert all(len(batches) == 1 for batches in platform.history(name).sample_ids().values())
