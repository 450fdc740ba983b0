"""Supervisors, Ray, the loop and the store together, in pods without Kubernetes."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Control, Progress
from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import DatasetRun, Source, Storage, TrainingRun, Workers
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.store.log import CommitLog, live_checkpoints

# Kept in the conftest, which pytest does not let a test import.
Pods = Any
MakePods = Callable[..., Pods]
Connect = Callable[[Storage], Any]
SECONDS = 240  # a machine may be busy; nothing below is a claim about time


def with_steps(run: TrainingRun, steps: int) -> TrainingRun:
    return run.model_copy(update={"training": run.training.model_copy(update={"steps": steps})})


def metrics_of(storage: Storage, connect: Connect) -> dict[int, dict[str, Any]]:
    """The line of each step; where several epochs did a step, the last one's."""
    lines: dict[int, dict[str, Any]] = {}
    with closing(connect(storage)) as store:
        for info in store.list("runs/"):
            if info.key.endswith(".jsonl"):
                for line in store.read(info.key).decode().splitlines():
                    record = json.loads(line)
                    if "sampleIds" in record:
                        lines[record["step"]] = record
    return lines


def planned_ids(run: TrainingRun, connect: Connect, *, steps: int) -> list[list[int]]:
    """What an undisturbed run reads: a pure function of the run config and the dataset."""
    manifests = []
    for source in run.data.sources:
        with closing(connect(source.storage)) as store:
            manifests.append(load_manifest(store, source.digest))
    plan, batch = SamplePlan(run.data, manifests), run.training.global_batch_size
    return [[plan.locate(step * batch + at).sample_id for at in range(batch)] for step in range(steps)]


def contents(manifest: DatasetManifest) -> list[object]:
    """Without what says who prepared it, and under which keys."""
    shards = [*manifest.train, *manifest.held_out]
    return [
        manifest.tokenizer_digest,
        manifest.statistics,
        [(shard.tokens, shard.documents, shard.chunk_checksums) for shard in shards],
    ]


@pytest.fixture
def connect(pod_set: MakePods) -> Connect:
    from deepseek_workloads.store.open import open_store

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return lambda storage: open_store(storage, environ=keys)


def test_a_job_trains_to_its_verdict_and_everybody_goes_home(
    pod_set: MakePods, training_run: TrainingRun, connect: Connect
) -> None:
    run = with_steps(training_run, 25)
    pods = pod_set(run)
    coordinator, workers = pods.start_all()
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert (verdict.outcome, verdict.reason, verdict.step) == ("Succeeded", reasons.COMPLETED, 25)
    assert verdict.consumed_samples == 100
    assert coordinator.wait(seconds=SECONDS) == 0
    assert [worker.wait(seconds=SECONDS) for worker in workers] == [0, 0]
    with closing(connect(run.storage)) as store:
        assert live_checkpoints(CommitLog(store).records())[-1].record.step == 25
    lines = metrics_of(run.storage, connect)
    assert [sorted(lines[step]["sampleIds"]) for step in range(1, 26)] == [
        sorted(ids) for ids in planned_ids(run, connect, steps=25)
    ]
    assert '"event": "step"' in workers[0].log + workers[1].log


@pytest.mark.slow  # tests/e2e/test_recovery.py kills the same processes in real pods.
def test_killed_processes_are_replaced_in_place_and_no_sample_is_lost_or_repeated(
    pod_set: MakePods, training_run: TrainingRun, connect: Connect
) -> None:
    pods = pod_set(training_run)
    coordinator, workers = pods.start_all()
    victims = [
        (workers[1], "ray::RayTrainWorker"),
        (workers[0], "ray::RayTrainWorker"),
        (coordinator, "launch.ray_train"),
        (workers[1], "raylet/raylet"),
        (coordinator, "gcs_server"),
    ]
    pods.wait_for_step(12, seconds=SECONDS)
    for pod, process in victims:
        before = pods.progress()
        pod.kill(process)
        pods.wait_for_progress(
            f"a later epoch after the kill of {process} in {pod.name}",
            lambda now, before=before: now.epoch > before.epoch and now.step >= before.step + 12,
            seconds=SECONDS,
        )
    assert pods.progress().failures <= 3  # two ranks and the driver; a lost node or head never counts
    pods.control(Control(generation=1, desired_state="Stopped"))
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert verdict.outcome == "Stopped"
    lines = metrics_of(training_run.storage, connect)
    assert sorted(lines) == list(range(1, verdict.step + 1))
    assert [sorted(lines[step]["sampleIds"]) for step in sorted(lines)] == [
        sorted(ids) for ids in planned_ids(training_run, connect, steps=verdict.step)
    ]


def test_a_drained_worker_leaves_a_checkpoint_and_its_successor_goes_on(
    pod_set: MakePods, training_run: TrainingRun, connect: Connect
) -> None:
    run = training_run.model_copy(
        update={"checkpoint": training_run.checkpoint.model_copy(update={"every_steps": 1_000_000})}
    )
    pods = pod_set(run)
    coordinator, workers = pods.start_all()
    before = pods.wait_for_step(5, seconds=SECONDS)
    workers[1].terminate()
    pods.worker(1, incarnation=1)
    pods.wait_for_progress(
        "a later epoch",
        lambda now: now.epoch > before.epoch and now.step > before.step,
        seconds=SECONDS,
    )
    assert workers[1].wait(seconds=SECONDS) == 143
    with closing(connect(run.storage)) as store:
        checkpoints = [entry.record for entry in live_checkpoints(CommitLog(store).records())]
    assert [record.reason for record in checkpoints] == ["preemption"]
    assert pods.progress().failures == 0
    coordinator.power_cut()


@pytest.mark.slow  # tests/e2e/test_training.py suspends and resumes a job in real pods.
def test_a_stopped_job_goes_on_from_where_it_was_in_new_pods(
    pod_set: MakePods, training_run: TrainingRun
) -> None:
    pods = pod_set(training_run)
    coordinator, workers = pods.start_all()
    pods.wait_for_step(5, seconds=SECONDS)
    pods.control(Control(generation=4, desired_state="Stopped"))
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert (verdict.outcome, coordinator.wait(seconds=SECONDS)) == ("Stopped", 0)
    assert [worker.wait(seconds=SECONDS) for worker in workers] == [0, 0]

    coordinator = pods.coordinator(incarnation=1)
    pods.worker(0, incarnation=1)
    pods.worker(1, incarnation=1)
    progress: Progress = pods.wait_for_step(verdict.step + 1, seconds=SECONDS)
    assert progress.epoch == verdict.epoch + 1


def test_a_stopped_job_goes_on_in_fewer_pods_with_the_samples_of_an_undisturbed_one(
    pod_set: MakePods, training_run: TrainingRun, connect: Connect
) -> None:
    """What the operator does for another workers.numNodes."""
    pods = pod_set(training_run)
    coordinator, workers = pods.start_all()
    pods.wait_for_step(5, seconds=SECONDS)
    pods.control(Control(generation=2, desired_state="Stopped"))
    before = pods.verdict(coordinator, seconds=SECONDS)
    assert [worker.wait(seconds=SECONDS) for worker in workers] == [0, 0]

    pods.run = training_run.model_copy(update={"workers": Workers(num_nodes=1)})
    coordinator = pods.coordinator(incarnation=1)
    pods.worker(0, incarnation=1)
    pods.wait_for_step(before.step + 5, seconds=SECONDS)
    pods.control(Control(generation=2, desired_state="Stopped"))
    after = pods.verdict(coordinator, seconds=SECONDS)
    assert (before.outcome, after.outcome, after.epoch) == ("Stopped", "Stopped", before.epoch + 1)
    lines = metrics_of(training_run.storage, connect)
    assert [sorted(lines[step]["sampleIds"]) for step in sorted(lines)] == [
        sorted(ids) for ids in planned_ids(training_run, connect, steps=after.step)
    ]


def test_a_terminated_coordinator_hands_over_to_its_successor_and_workers_stay(
    pod_set: MakePods, training_run: TrainingRun
) -> None:
    pods = pod_set(training_run)
    coordinator, workers = pods.start_all()
    pods.wait_for_step(5, seconds=SECONDS)
    coordinator.terminate()
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert verdict.outcome == "Retry"
    assert verdict.step >= 5
    pods.coordinator(incarnation=1)
    progress = pods.wait_for_step(verdict.step + 1, seconds=SECONDS)
    assert progress.epoch == verdict.epoch + 1
    assert all(worker.process.poll() is None for worker in workers)


def test_a_dataset_that_ray_has_prepared_equals_one_of_a_single_process(
    pod_set: MakePods, dataset: Source, make_dataset_run: Callable[[str], DatasetRun], connect: Connect
) -> None:
    run = make_dataset_run("prepared-by-ray")
    pods = pod_set(run)
    coordinator, workers = pods.start_all()
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert (verdict.outcome, verdict.uri) == ("Succeeded", run.storage.uri)
    assert [worker.wait(seconds=SECONDS) for worker in workers] == [0]
    with closing(connect(run.storage)) as by_ray, closing(connect(dataset.storage)) as here:
        assert contents(load_manifest(by_ray, verdict.digest)) == contents(load_manifest(here, None))


def test_bad_input_ends_the_coordinator_before_it_is_ready(
    pod_set: MakePods, training_run: TrainingRun
) -> None:
    source = training_run.data.sources[0].model_copy(update={"digest": f"sha256:{'0' * 64}"})
    run = training_run.model_copy(update={"data": training_run.data.model_copy(update={"sources": [source]})})
    pods = pod_set(run)
    coordinator = pods.coordinator()
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.DATASET_DIGEST_MISMATCH)
    assert coordinator.wait(seconds=SECONDS) == ExitCode.BAD_INPUT
    assert '"BecomeReady"' not in coordinator.log
    assert "DriverExited" not in coordinator.log
