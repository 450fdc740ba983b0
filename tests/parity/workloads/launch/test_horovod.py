"""The whole path of backend horovod in pods without Kubernetes: rendezvous, launcher, ranks, kills."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.messages import Control
from deepseek_workloads.contract.run_config import Parallelism, TrainingRun, Workers
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.store.log import CommitLog, live_checkpoints
from deepseek_workloads.store.open import open_store

# Kept in the conftest, which pytest does not let a test import.
Pods = Any
MakePods = Callable[..., Pods]
SECONDS = 240  # a machine may be busy; nothing below is a claim about time
GLOO_TIMEOUT = "20"  # seconds; so that the test of a frozen rank does not wait for the default's 120
RANK = "launch.horovod_rank"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture
def horovod_run(training_run: TrainingRun) -> TrainingRun:
    training = training_run.training.model_copy(update={"parallelism": Parallelism(zero_stage=0)})
    return training_run.model_copy(update={"backend": "horovod", "training": training})


@pytest.fixture
def horovod_pods(pod_set: MakePods, horovod_site: str) -> MakePods:
    def make(run: TrainingRun) -> Pods:
        pods = pod_set(run)
        pods.environ |= {"PYTHONPATH": horovod_site, "HOROVOD_GLOO_TIMEOUT_SECONDS": GLOO_TIMEOUT}
        return pods

    return make


def with_steps(run: TrainingRun, steps: int) -> TrainingRun:
    return run.model_copy(update={"training": run.training.model_copy(update={"steps": steps})})


def step_records(run: TrainingRun) -> dict[int, dict[str, Any]]:
    """The line of each step; where several epochs did a step, the last one's."""
    lines: dict[int, dict[str, Any]] = {}
    with closing(open_store(run.storage, environ=KEYS)) as store:
        for info in store.list("runs/"):
            if info.key.endswith(".jsonl"):
                for line in store.read(info.key).decode().splitlines():
                    record = json.loads(line)
                    if "sampleIds" in record:
                        lines[record["step"]] = record
    return lines


def planned_ids(run: TrainingRun, *, steps: int) -> list[list[int]]:
    """What an undisturbed run reads: a pure function of the run config and the dataset."""
    manifests = []
    for source in run.data.sources:
        with closing(open_store(source.storage, environ=KEYS)) as store:
            manifests.append(load_manifest(store, source.digest))
    plan, batch = SamplePlan(run.data, manifests), run.training.global_batch_size
    return [sorted(plan.locate(step * batch + at).sample_id for at in range(batch)) for step in range(steps)]


def assert_each_sample_was_read_once_in_order(run: TrainingRun, *, steps: int) -> None:
    lines = step_records(run)
    assert [sorted(lines[step]["sampleIds"]) for step in range(1, steps + 1)] == planned_ids(run, steps=steps)


def test_two_ranks_of_one_pod_train_to_their_verdict(
    horovod_pods: MakePods, horovod_run: TrainingRun
) -> None:
    run = with_steps(horovod_run, 12).model_copy(
        update={"workers": Workers(num_nodes=1, num_proc_per_node=2)}
    )
    pods = horovod_pods(run)
    coordinator, workers = pods.start_all()
    progress = pods.wait_for_step(1, seconds=SECONDS)
    assert progress.data_path == "gloo"
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert (verdict.outcome, verdict.reason, verdict.step) == ("Succeeded", reasons.COMPLETED, 12)
    assert [worker.wait(seconds=SECONDS) for worker in workers] == [0]
    with closing(open_store(run.storage, environ=KEYS)) as store:
        assert live_checkpoints(CommitLog(store).records())[-1].record.step == 12
    assert_each_sample_was_read_once_in_order(run, steps=12)
    assert '"event": "step"' in workers[0].log  # `kubectl logs` of a worker shows training


def test_whatever_is_killed_or_frozen_all_ranks_start_again_in_place_from_the_last_checkpoint(
    horovod_pods: MakePods, horovod_run: TrainingRun
) -> None:
    pods = horovod_pods(horovod_run)
    coordinator, workers = pods.start_all()
    disturbances = [
        ("a killed rank", workers[1], RANK, signal.SIGKILL),
        ("a killed rank 0", workers[0], RANK, signal.SIGKILL),
        ("a killed launcher of ranks", workers[0], "launch.horovod_node", signal.SIGKILL),
        ("a killed driver", coordinator, "launch.horovod ", signal.SIGKILL),
        ("a frozen rank", workers[1], RANK, signal.SIGSTOP),
    ]
    pods.wait_for_step(12, seconds=SECONDS)
    for what, pod, process, number in disturbances:
        before = pods.progress()
        (pid,) = pod.find(process)
        os.kill(pid, number)
        pods.wait_for_progress(
            f"a later epoch after {what}",
            lambda now, before=before: now.epoch > before.epoch and now.step >= before.step + 12,
            seconds=SECONDS,
        )
    # A killed rank or driver counts; a launcher whose word is missing and a frozen rank may be a lost pod's.
    assert pods.progress().failures <= 3
    assert all(pod.process.poll() is None for pod in pods.pods)
    pods.control(Control(generation=1, desired_state="Stopped"))
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert verdict.outcome == "Stopped"
    assert_each_sample_was_read_once_in_order(horovod_run, steps=verdict.step)


def test_lost_and_drained_pods_are_succeeded_and_nothing_counts(
    horovod_pods: MakePods, horovod_run: TrainingRun
) -> None:
    pods = horovod_pods(horovod_run)
    coordinator, workers = pods.start_all()
    before = pods.wait_for_step(12, seconds=SECONDS)
    workers[1].power_cut()
    pods.worker(1, incarnation=1)
    pods.wait_for_progress(
        "a later epoch after the power cut",
        lambda now: now.epoch > before.epoch and now.step >= before.step + 12,
        seconds=SECONDS,
    )
    before = pods.progress()
    workers[0].terminate()
    pods.worker(0, incarnation=1)
    assert workers[0].wait(seconds=SECONDS) == 143
    pods.wait_for_progress(
        "a later epoch after the drain",
        lambda now: now.epoch > before.epoch and now.step > before.step,
        seconds=SECONDS,
    )
    with closing(open_store(horovod_run.storage, environ=KEYS)) as store:
        entries = CommitLog(store).records()
    assert any(getattr(entry.record, "reason", "") == "preemption" for entry in entries)
    assert pods.progress().failures == 0
    coordinator.terminate()
    assert pods.verdict(coordinator, seconds=SECONDS).outcome == "Retry"


def test_ranks_that_raise_the_same_error_end_the_run_by_its_backoff_limit(
    horovod_pods: MakePods, horovod_run: TrainingRun
) -> None:
    """A GPU that no pod has is found by the ranks; each attempt is a failure of the run itself."""
    run = horovod_run.model_copy(
        update={
            "workers": horovod_run.workers.model_copy(update={"gpus_per_node": 1}),
            "run_policy": horovod_run.run_policy.model_copy(update={"backoff_limit": 0}),
        }
    )
    pods = horovod_pods(run)
    coordinator, _ = pods.start_all()
    verdict = pods.verdict(coordinator, seconds=SECONDS)
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.BACKOFF_LIMIT_EXCEEDED)
    assert "CUDA sees no device" in verdict.message
