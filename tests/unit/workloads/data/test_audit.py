"""What an audit says of orders and of runs' logs, sound ones and others."""

import json
from dataclasses import replace

import numpy as np
import pytest

from deepseek_workloads.contract.sample_order import MixtureStage, SampleRange
from deepseek_workloads.data import sample_log
from deepseek_workloads.data.audit import audit_order, audit_run
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.sample_log import sample_fields

BATCH = 8


@pytest.fixture
def plan(new_store, write_dataset, make_data) -> SamplePlan:
    """Of 50 and 20 windows, mixed 2 to 1, and from sample 60 on 1 to 1."""
    data = make_data([2, 1], seed=9)
    mixture = [MixtureStage(at_sample=60, weights={"source-0": 1, "source-1": 1})]
    manifests = [write_dataset(new_store("a"), [201]), write_dataset(new_store("b"), [81])]
    return SamplePlan(data.model_copy(update={"mixture": mixture}), manifests)


def _ids(plan: SamplePlan, first: int) -> list[int]:
    return plan.locate_many(np.arange(first, first + BATCH)).sample_id.tolist()


def _log(store, epoch: int, lines, *, part: int = 0) -> None:
    content = "\n".join(json.dumps({"epoch": epoch, **line}) for line in lines)
    store.put(f"runs/{epoch:08d}/metrics-{part}.jsonl", content.encode())


def _step(plan: SamplePlan, step: int, **changes: object) -> dict[str, object]:
    first = (step - 1) * BATCH
    return {"step": step, "consumedSamples": step * BATCH, **sample_fields(_ids(plan, first)), **changes}


def test_every_window_comes_once_an_epoch(plan: SamplePlan) -> None:
    of_sources = audit_order(plan, samples=400)
    assert [source.in_order for source in of_sources] == [True, True]
    assert sum(source.samples for source in of_sources) == 400
    assert min(source.epochs for source in of_sources) > 2


def test_an_order_that_repeats_is_found(plan: SamplePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    original = plan.locate_many

    def broken(samples):
        found = original(samples)
        return replace(found, window=np.where(found.window == 3, 4, found.window))

    monkeypatch.setattr(plan, "locate_many", broken)
    first, _ = audit_order(plan, samples=400)
    assert not first.in_order
    assert (first.repeated, first.missing) > (0, 0)


def test_skipped_samples_are_no_fault_of_the_order(plan: SamplePlan) -> None:
    skip = [SampleRange(from_sample=10, to_sample=30)]
    data = plan.data.model_copy(update={"skip": skip})
    assert all(source.in_order for source in audit_order(SamplePlan(data, plan.manifests), samples=300))


@pytest.mark.parametrize("most_ids", [1024, 4])
def test_a_run_that_was_interrupted_is_in_order(
    plan: SamplePlan, new_store, monkeypatch: pytest.MonkeyPatch, most_ids: int
) -> None:
    """Steps 3 and 4 were trained again, by the next epoch. With few ids to a line their digest is logged."""
    monkeypatch.setattr(sample_log, "_MAX_SAMPLE_IDS", most_ids)
    store = new_store("run")
    _log(store, 1, [_step(plan, step) for step in (1, 2, 3, 4)])
    _log(store, 2, [*(_step(plan, step) for step in (3, 4, 5)), {"step": 5, "evaluationLoss": 1.0}])
    found = audit_run(plan, store, global_batch_size=BATCH)
    assert (found.in_order, found.steps, found.repeated_steps) == (True, 5, 2)


def test_a_step_on_other_samples_is_named(plan: SamplePlan, new_store) -> None:
    store = new_store("run")
    others = _step(plan, 2, sampleIds=_ids(plan, 3 * BATCH))
    _log(store, 1, [_step(plan, 1), others, _step(plan, 3)])
    found = audit_run(plan, store, global_batch_size=BATCH)
    assert found.deviating == ("step 2: samples 8 to 16 are not the order's",)


def test_a_step_that_takes_samples_again_is_named(plan: SamplePlan, new_store) -> None:
    store = new_store("run")
    again = {"step": 2, "consumedSamples": BATCH, **sample_fields(_ids(plan, 0))}
    _log(store, 1, [_step(plan, 1), again])
    found = audit_run(plan, store, global_batch_size=BATCH)
    assert found.deviating == ("step 2: begins at sample 0, which step 1 had taken",)
