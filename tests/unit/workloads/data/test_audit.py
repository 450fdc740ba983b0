"""What an audit says of orders and of runs' logs, sound ones and others."""

import json
from dataclasses import replace

import numpy as np
import pytest

from deepseek_workloads.contract.sample_order import MixtureStage, SampleRange
from deepseek_workloads.data import sample_log
from deepseek_workloads.data.audit import audit_order
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.run_audit import RunAudit, audit_run
from deepseek_workloads.data.sample_log import sample_fields
from deepseek_workloads.store.log import CommitLog

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


def _log(store, epoch: int, lines, *, part: int = 1) -> None:
    content = "\n".join(json.dumps({"epoch": epoch, **line}) for line in lines)
    name = "metrics.jsonl" if part == 1 else f"metrics-{part:05d}.jsonl"
    store.put(f"runs/{epoch:08d}/{name}", content.encode())


def _step(plan: SamplePlan, step: int, *, first: int | None = None, **changes: object) -> dict[str, object]:
    """`first`: its first sample, where nothing was left out before if it is not said."""
    first = (step - 1) * BATCH if first is None else first
    return {"step": step, "consumedSamples": first + BATCH, **sample_fields(_ids(plan, first)), **changes}


def _checkpoint(store, *, step: int, samples: int, reason: str = "schedule") -> None:
    writer = CommitLog(store).begin_epoch(run_config_digest="")
    writer.commit_checkpoint(
        step=step, consumed_samples=samples, tokens=0, prefix="data/x/", files=[], reason=reason
    )


def _audited(plan: SamplePlan, store) -> RunAudit:
    return audit_run(plan, store, global_batch_size=BATCH)


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


def test_a_window_that_is_not_skipped_must_come_though_others_are(
    plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Window 3 of the first source comes nowhere: not where samples are taken, nor in what is left out."""
    skip = [SampleRange(from_sample=10, to_sample=30)]
    skipping = SamplePlan(plan.data.model_copy(update={"skip": skip}), plan.manifests)
    original = skipping.at_places

    def without(places):
        found = original(places)
        return replace(found, window=np.where(found.window == 3, 4, found.window))

    monkeypatch.setattr(skipping, "at_places", without)
    assert audit_order(skipping, samples=300)[0].missing > 0


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


def test_a_run_without_a_log_shows_nothing(plan: SamplePlan, new_store) -> None:
    assert _audited(plan, new_store("run")).deviating == (
        "no step is logged: that the run took the order's samples is not shown",
    )


def test_a_step_that_is_not_logged_is_named(plan: SamplePlan, new_store) -> None:
    store = new_store("run")
    _log(store, 1, [_step(plan, step) for step in (1, 2, 5)])
    assert _audited(plan, store).deviating == ("steps 3 to 4: not in the log",)


def test_a_log_that_does_not_begin_at_the_first_step_is_named(plan: SamplePlan, new_store) -> None:
    store = new_store("run")
    _log(store, 1, [_step(plan, step) for step in (2, 3)])
    assert _audited(plan, store).deviating == ("step 1: not in the log",)


def test_a_log_that_ends_before_the_newest_checkpoint_is_named(plan: SamplePlan, new_store) -> None:
    store = new_store("run")
    _log(store, 1, [_step(plan, 1), _step(plan, 2)])
    _checkpoint(store, step=3, samples=3 * BATCH)
    assert _audited(plan, store).deviating == (
        "step 3: not in the log, though a checkpoint of step 3 is live",
    )


def test_samples_that_were_left_out_between_two_steps_are_named(plan: SamplePlan, new_store) -> None:
    store = new_store("run")
    _log(store, 1, [_step(plan, 1), _step(plan, 2, first=2 * BATCH)])
    assert _audited(plan, store).deviating == (
        "step 2: begins at sample 16: samples 8 to 16 were left out, and no rollback says so",
    )


def test_what_a_rollback_left_out_is_explained_by_its_checkpoint(plan: SamplePlan, new_store) -> None:
    """At step 5 back to step 2: the batches of steps 3 to 5 are left out. Lines of the steps that were given
    up do not count, though the run ends before them."""
    store = new_store("run")
    _log(store, 1, [_step(plan, step) for step in (1, 2, 3, 4)])
    _log(store, 1, [_step(plan, 3, first=5 * BATCH)], part=2)
    _checkpoint(store, step=2, samples=5 * BATCH, reason="rollback")
    found = _audited(plan, store)
    assert (found.deviating, found.steps, found.repeated_steps) == ((), 3, 1)
