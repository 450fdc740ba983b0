"""Checkpoints are uploaded while training goes on: what is told meanwhile, and what a fault there does."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from training_cases import (
    begin_epoch,
    final_curve,
    log_entries,
    metric_lines,
    run_config,
    train_alone,
)

from deepseek_workloads.contract.messages import Control
from deepseek_workloads.contract.records import CheckpointRecord
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.store.interface import ObjectStore, StoreError, StoreUnavailable
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from deepseek_workloads.train.context import Preempted, TrainContext
from deepseek_workloads.train.loop import train
from deepseek_workloads.train.monitor import LocalMonitor
from local_object_store import Proxy
from local_object_store.in_process import in_process_server

SECONDS = 60.0  # until something that must happen counts as stuck


def steps_of(run: TrainingRun) -> list[int]:
    return [entry.record.step for entry in live_checkpoints(log_entries(run.storage.uri))]


class SteppingMonitor(LocalMonitor):
    """Lets others wait until a step was taken."""

    def __init__(self) -> None:
        super().__init__(Control())
        self._changed = threading.Condition()

    def heartbeat(self, step: int) -> None:
        with self._changed:
            super().heartbeat(step)
            self._changed.notify_all()

    def wait_for(self, step: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.step >= step, SECONDS), f"step {step} never came"


class InterceptedStore:
    """`before` sees each call that writes: its name and key."""

    def __init__(self, store: ObjectStore, before: Callable[[str, str], None]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, content: bytes) -> None:
        self._before("put", key)
        self._store.put(key, content)

    def create(self, key: str, content: bytes) -> None:
        self._before("create", key)
        self._store.create(key, content)


def intercepted(before: Callable[[str, str], None]) -> Callable[[ObjectStore], ObjectStore]:
    return lambda store: InterceptedStore(store, before)  # type: ignore[return-value]


class AtCheckpoint:
    """Calls `then` before the `number`-th upload of a checkpoint's index, its last file."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self._left, self._then = number, then

    def __call__(self, _method: str, key: str) -> None:
        self._left -= key.endswith("/metadata.json") and key.startswith("data/")
        if self._left == 0 and key.endswith("/metadata.json"):
            self._left = -1
            self._then()


def test_training_goes_on_while_a_checkpoint_is_uploaded(run: TrainingRun, undisturbed: TrainingRun) -> None:
    monitor = SteppingMonitor()
    at_first = AtCheckpoint(1, lambda: monitor.wait_for(4))  # it was begun after step 2
    assert train_alone(run, monitor=monitor, wrap=intercepted(at_first)).outcome == "Succeeded"
    assert steps_of(run) == [2, 4, 6]
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


def test_only_what_is_durable_is_shown(run: TrainingRun) -> None:
    monitor = SteppingMonitor()
    at_first = AtCheckpoint(1, lambda: monitor.wait_for(4))
    train_alone(run, monitor=monitor, wrap=intercepted(at_first))
    shown = {(progress.step, tuple(c.step for c in progress.checkpoints)) for progress in monitor.published}
    assert (3, ()) in shown
    assert not [pair for pair in shown if pair[0] == 3 and pair[1]]
    assert (6, (2, 4, 6)) in shown


def test_in_mode_sync_no_step_is_taken_meanwhile(run: TrainingRun, undisturbed: TrainingRun) -> None:
    sync = run.model_copy(update={"checkpoint": run.checkpoint.model_copy(update={"mode": "sync"})})
    monitor = SteppingMonitor()
    seen: list[int] = []
    at_first = AtCheckpoint(1, lambda: seen.append(monitor.step))
    train_alone(sync, monitor=monitor, wrap=intercepted(at_first))
    assert seen == [2]
    assert final_curve(sync.storage.uri) == final_curve(undisturbed.storage.uri)


@pytest.mark.parametrize("part", [".safetensors", "/metadata.json", "log/00000003.json"])
def test_what_goes_wrong_in_the_background_ends_the_run_and_keeps_what_was_durable(
    run: TrainingRun, undisturbed: TrainingRun, part: str
) -> None:
    """Of the second checkpoint, whose record is the third."""
    monitor, committed = SteppingMonitor(), list[str]()

    def fail(method: str, key: str) -> None:
        if "log/00000002.json" in committed and key.endswith(part):
            raise StoreError("the disk is full")
        if method == "create":
            committed.append(key)

    with pytest.raises(StoreError, match="the disk is full"):
        train_alone(run, monitor=monitor, wrap=intercepted(fail))
    assert steps_of(run) == [2]
    assert monitor.step <= 6
    assert train_alone(run).outcome == "Succeeded"
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


def failing(checkpoints: set[int]) -> Callable[[ObjectStore], ObjectStore]:
    """The store is away for the index of each checkpoint with such a number, from 1."""
    seen: list[str] = []

    def before(_method: str, key: str) -> None:
        if key.startswith("data/") and key.endswith("/metadata.json"):
            seen.append(key)
            if len(seen) in checkpoints:
                raise StoreUnavailable("the store is away")

    return intercepted(before)


def test_a_checkpoint_that_a_store_was_away_for_costs_no_step(
    run: TrainingRun, undisturbed: TrainingRun
) -> None:
    monitor = SteppingMonitor()
    assert train_alone(run, monitor=monitor, wrap=failing({1, 2})).outcome == "Succeeded"
    assert steps_of(run) == [6]
    assert [warning for warning in monitor.published[-1].warnings if "the store is away" in warning]
    assert [line["epoch"] for line in metric_lines(run.storage.uri) if "sampleIds" in line] == [1] * 6
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


def test_a_store_that_stays_away_ends_the_run(dataset: str, tmp_path: Path) -> None:
    run = run_config(f"file://{tmp_path}/run", dataset, steps=8, checkpoint_every=1)
    monitor = SteppingMonitor()
    with pytest.raises(StoreUnavailable):
        train_alone(run, monitor=monitor, wrap=failing({2, 3, 4, 5, 6, 7, 8}))
    assert steps_of(run) == [1]
    assert monitor.step < 8


def test_the_last_checkpoint_is_not_given_up(run: TrainingRun) -> None:
    with pytest.raises(StoreUnavailable):
        train_alone(run, wrap=failing({3}))
    assert steps_of(run) == [2, 4]


def test_a_drain_during_an_upload_finishes_it_and_leaves_the_newer_state_too(run: TrainingRun) -> None:
    monitor = SteppingMonitor()
    at_first = AtCheckpoint(1, lambda: monitor.wait_for(3))
    with pytest.raises(Preempted, match="step 3"):
        train_alone(run, monitor=monitor, wrap=intercepted(at_first), draining=lambda: monitor.step >= 2)
    records = [entry.record for entry in live_checkpoints(log_entries(run.storage.uri))]
    assert [(record.step, record.reason) for record in records] == [(2, "schedule"), (3, "preemption")]


def test_a_pod_that_ends_before_the_newer_state_is_durable_leaves_the_one_that_was_under_way(
    run: TrainingRun, undisturbed: TrainingRun
) -> None:
    monitor = SteppingMonitor()
    at_first = AtCheckpoint(1, lambda: monitor.wait_for(3))
    killed = AtCheckpoint(2, _kill)

    def both(method: str, key: str) -> None:
        at_first(method, key)
        killed(method, key)

    with pytest.raises(Killed):
        train_alone(run, monitor=monitor, wrap=intercepted(both), draining=lambda: monitor.step >= 2)
    assert steps_of(run) == [2]
    assert train_alone(run).outcome == "Succeeded"
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


class Killed(BaseException):
    """The process is gone."""


def _kill() -> None:
    raise Killed


def test_a_record_that_was_committed_counts_though_its_answer_was_lost(
    run: TrainingRun, undisturbed: TrainingRun
) -> None:
    lost: list[str] = []

    class LosesAnswers(InterceptedStore):
        def create(self, key: str, content: bytes) -> None:
            super().create(key, content)
            if key not in lost:
                lost.append(key)
                super().create(key, content)  # the client's own second attempt: the object exists

    wrap = lambda store: LosesAnswers(store, lambda *_: None)  # noqa: E731
    assert train_alone(run, wrap=wrap).outcome == "Succeeded"  # type: ignore[arg-type]
    assert steps_of(run) == [2, 4, 6]
    records = [entry.record for entry in log_entries(run.storage.uri)]
    assert len([record for record in records if isinstance(record, CheckpointRecord)]) == 3
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    with in_process_server() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def proxy(s3_server: str) -> Iterator[Proxy]:
    with Proxy(s3_server) as running:
        yield running


@pytest.fixture
def on_s3(run: TrainingRun, s3_server: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    """The same run, whose storage lies behind the proxy."""
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    bucket = f"run-{uuid.uuid4()}"
    client.create_bucket(Bucket=bucket)
    client.close()
    storage = Storage(uri=f"s3://{bucket}/run", endpoint_url=proxy.endpoint_url)
    return run.model_copy(update={"storage": storage})


def curve_of(run: TrainingRun) -> dict[int, tuple[float, list[int]]]:
    store = open_store(run.storage)
    lines = b"".join(store.read(info.key) for info in store.list("runs/") if info.key.endswith(".jsonl"))
    steps = [json.loads(line) for line in lines.splitlines()]
    store.close()
    return {line["step"]: (line["loss"], tuple(line["sampleIds"])) for line in steps if "sampleIds" in line}


def train_on(run: TrainingRun, monitor: LocalMonitor) -> str:
    opened: list[ObjectStore] = []

    def open_both(storage: Storage) -> ObjectStore:
        opened.append(open_store(storage, retry=RetryPolicy(base_seconds=0.01)))
        return opened[-1]

    context = TrainContext(0, 1, 0, open_both, begin_epoch, monitor, draining=lambda: False)
    try:
        return train(run, context).outcome
    finally:
        for store in opened:
            store.close()


def test_training_goes_on_while_the_store_does_not_answer(
    on_s3: TrainingRun, undisturbed: TrainingRun, proxy: Proxy
) -> None:
    class Stopping(LocalMonitor):
        def heartbeat(self, step: int) -> None:
            super().heartbeat(step)
            if step == 2:
                proxy.hold()  # the upload of this step's checkpoint comes next
            if step == 4:
                proxy.release()

    assert train_on(on_s3, Stopping(Control())) == "Succeeded"
    assert curve_of(on_s3) == final_curve(undisturbed.storage.uri)


@pytest.mark.parametrize("path", ["/log/", "/data/", "/metadata.json"])
def test_bursts_of_errors_cost_attempts_only(
    on_s3: TrainingRun, undisturbed: TrainingRun, proxy: Proxy, path: str
) -> None:
    proxy.fail("busy", "error", "none", "reset", "answer lost", "busy", method="PUT", path=path)
    monitor = LocalMonitor(Control())
    assert train_on(on_s3, monitor) == "Succeeded"
    assert [summary.step for summary in monitor.published[-1].checkpoints] == [2, 4, 6]
    assert curve_of(on_s3) == final_curve(undisturbed.storage.uri)
