"""One rank, a real store: what a run leaves behind, how it ends, and how it goes on."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from training_cases import (
    ARCHITECTURE,
    MonitorAt,
    begin_epoch,
    final_curve,
    log_entries,
    run_config,
    samples,
    step_lines,
    train_alone,
)

from deepseek_workloads.contract.messages import Control
from deepseek_workloads.contract.records import CheckpointRecord, ExportRecord
from deepseek_workloads.contract.retention import KeepBest, Retention
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.held_out import HeldOutReader
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import open_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, Fenced, live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.checkpoint import CheckpointMismatch, NoIntactCheckpoint
from deepseek_workloads.train.context import Preempted
from deepseek_workloads.train.monitor import LocalMonitor


def opened(run: TrainingRun) -> ObjectStore:
    return open_store(run.storage, environ={})


def checkpoints(run: TrainingRun) -> list[CheckpointRecord]:
    return [entry.record for entry in live_checkpoints(log_entries(run.storage.uri))]


def test_a_run_ends_with_checkpoints_an_evaluation_and_an_export(run: TrainingRun) -> None:
    verdict = train_alone(run)
    assert (verdict.outcome, verdict.step, verdict.consumed_samples) == ("Succeeded", 6, 48)
    assert [(record.step, record.reason) for record in checkpoints(run)] == [
        (2, "schedule"),
        (4, "schedule"),
        (6, "final"),
    ]
    assert verdict.evaluation["held_out_bits_per_byte"] < verdict.evaluation["unigram_bits_per_byte"]
    export = open_export(opened(run), verdict.digest)
    assert export.architecture() == ARCHITECTURE
    assert export.manifest.provenance.step == 6
    assert export.manifest.evaluation == verdict.evaluation
    assert isinstance(log_entries(run.storage.uri)[-1].record, ExportRecord)


def test_accuracy_is_the_share_of_tokens_that_are_the_most_probable(undisturbed: TrainingRun) -> None:
    verdict = train_alone(undisturbed)  # repeats nothing
    export = open_export(opened(undisturbed), verdict.digest)
    model = DeepseekV3ForCausalLM(ARCHITECTURE).eval()
    model.load_state_dict(export.state(ARCHITECTURE))
    data = open_store(undisturbed.data.sources[0].storage, environ={})
    plan = SamplePlan(undisturbed.data, [load_manifest(data, None)])
    reader = HeldOutReader(plan, [data])
    batches = list(reader.batches(rank=0, world_size=1, micro_batch_size=1, max_samples=8))
    with torch.no_grad():
        right = [model(batch.input_ids[:, :-1]).argmax(-1) == batch.input_ids[:, 1:] for batch in batches]
    expected = torch.cat(right).double().mean().item()
    assert verdict.evaluation["accuracy"] == pytest.approx(expected)
    assert 0 < expected < 1


def test_the_loss_falls(undisturbed: TrainingRun) -> None:
    losses = [loss for loss, _ in final_curve(undisturbed.storage.uri).values()]
    assert losses == sorted(losses, reverse=True)


def test_every_step_is_logged_with_its_samples_none_twice(undisturbed: TrainingRun) -> None:
    lines = step_lines(undisturbed.storage.uri)
    assert [line.step for line in lines] == [1, 2, 3, 4, 5, 6]
    seen = [number for line in lines for number in line.sample_ids]
    assert len(seen) == len(set(seen)) == 48


def test_tensorboard_reads_the_curves(undisturbed: TrainingRun, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store = opened(undisturbed)
    for info in store.list("runs/00000001/tensorboard/"):
        store.get_file(info.key, tmp_path / Path(info.key).name)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [point.step for point in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in events.Scalars("evaluation/held_out_bits_per_byte")] == [6]


def test_no_file_of_a_checkpoint_is_a_pickle(undisturbed: TrainingRun) -> None:
    keys = [info.key for info in opened(undisturbed).list("data/")]
    assert keys
    assert {Path(key).suffix for key in keys} == {".json", ".safetensors"}


def test_progress_reaches_the_monitor(run: TrainingRun) -> None:
    monitor = LocalMonitor()
    train_alone(run, monitor=monitor)
    phases = list(dict.fromkeys(progress.phase for progress in monitor.published))
    assert phases == ["Starting", "Training", "Evaluating", "Exporting", "Done"]
    last = monitor.published[-1]
    assert (last.step, last.total_steps, last.tokens, last.epoch) == (6, 6, 768, 1)
    assert [summary.step for summary in last.checkpoints] == [2, 4, 6]
    assert last.evaluation.keys() >= {"held_out_bits_per_byte", "unigram_bits_per_byte"}
    assert last.goodput.keys() >= {"startup", "data", "train", "checkpoint", "total"}


def test_prompts_are_continued_at_each_evaluation(run: TrainingRun) -> None:
    evaluation = run.evaluation.model_copy(update={"every_steps": 3, "prompts": ["t1 t2", "t5"]})
    train_alone(run.model_copy(update={"evaluation": evaluation}))
    looks = samples(run.storage.uri)
    assert list(looks) == [3, 6]
    for look in looks.values():
        assert [sample["prompt"] for sample in look] == ["t1 t2", "t5"]
        assert all(sample["continuation"].startswith(" t") for sample in look)


def test_a_finished_run_that_is_started_again_repeats_nothing(run: TrainingRun) -> None:
    monitors = LocalMonitor(), LocalMonitor()
    first, second = (train_alone(run, monitor=monitor) for monitor in monitors)
    assert (second.outcome, second.digest, second.evaluation) == ("Succeeded", first.digest, first.evaluation)
    trained, shown = (monitor.published[-1] for monitor in monitors)
    assert shown.loss == trained.loss is not None
    assert shown.tokens_per_second is not None
    assert len(step_lines(run.storage.uri)) == 6


def test_a_stop_leaves_a_checkpoint_and_the_run_goes_on_from_it(
    run: TrainingRun, undisturbed: TrainingRun
) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    verdict = train_alone(run, monitor=MonitorAt(3, stop))
    assert (verdict.outcome, verdict.step, verdict.exit_code) == ("Stopped", 4, 0)
    assert (checkpoints(run)[-1].step, checkpoints(run)[-1].reason) == (4, "control")
    assert train_alone(run).outcome == "Succeeded"
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


def test_a_checkpoint_asked_for_is_written_once(run: TrainingRun) -> None:
    def ask(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, checkpoint_request=1)

    train_alone(run.model_copy(update={"checkpoint": run.checkpoint.model_copy(update={"every_steps": 100})}),
                monitor=MonitorAt(2, ask))  # fmt: skip
    assert [(record.step, record.reason) for record in checkpoints(run)] == [(3, "control"), (6, "final")]


def test_a_drained_group_leaves_a_checkpoint_and_goes_on_at_the_same_sample(
    run: TrainingRun, undisturbed: TrainingRun
) -> None:
    monitor = LocalMonitor()
    with pytest.raises(Preempted, match="step 3"):
        train_alone(run, monitor=monitor, draining=lambda: monitor.step >= 2)
    assert (checkpoints(run)[-1].step, checkpoints(run)[-1].reason) == (3, "preemption")
    train_alone(run)
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)


def test_only_the_newest_checkpoints_are_kept(dataset: str, tmp_path: Path) -> None:
    run = run_config(f"file://{tmp_path}/run", dataset, checkpoint_every=1, keep_last=2)
    train_alone(run)
    assert [record.step for record in checkpoints(run)] == [5, 6]
    prefixes = {key.key.rsplit("/", 1)[0] + "/" for key in opened(run).list("data/")}
    assert prefixes == {record.prefix for record in checkpoints(run)}


def test_what_is_kept_may_change_while_a_run_goes(dataset: str, tmp_path: Path) -> None:
    def keep_more(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, retention=Retention(keep_last=1, keep_every=3))

    run = run_config(f"file://{tmp_path}/run", dataset, checkpoint_every=1, keep_last=1)
    train_alone(run, monitor=MonitorAt(2, keep_more))
    assert [record.step for record in checkpoints(run)] == [3, 6]


def test_the_best_by_an_evaluation_of_the_same_step_is_kept(dataset: str, tmp_path: Path) -> None:
    run = run_config(f"file://{tmp_path}/run", dataset, checkpoint_every=1, keep_last=1)
    worst = KeepBest(metric="held_out_loss", mode="max")  # the first, as the model learns
    run = run.model_copy(
        update={
            "checkpoint": run.checkpoint.model_copy(update={"keep_best": worst}),
            "evaluation": run.evaluation.model_copy(update={"every_steps": 2}),
        }
    )
    train_alone(run)
    assert [record.step for record in checkpoints(run)] == [2, 6]
    assert "held_out_loss" in checkpoints(run)[0].metrics


def test_a_newer_epoch_stops_an_older_group_at_its_next_commit(run: TrainingRun) -> None:
    def take_over(_monitor: MonitorAt) -> None:
        begin_epoch(CommitLog(opened(run)))

    with pytest.raises(Fenced):
        train_alone(run, monitor=MonitorAt(3, take_over))
    assert {record.step for record in checkpoints(run)} <= {2}, "what was committed before"


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(
    dataset: str, tmp_path: Path
) -> None:
    run = run_config(
        f"file://{tmp_path}/run",
        dataset,
        steps=8,
        checkpoint_every=1,
        optimizer={"learning_rate": 1e36},
        schedule={"warmup_steps": 0, "name": "constant"},
    )
    verdict = train_alone(run)
    assert (verdict.outcome, verdict.reason, verdict.exit_code) == ("Failed", "NumericFailure", 11)
    assert "must be finite" in verdict.message
    assert "kept. Lower spec.training.optimizer.learningRate" in verdict.message
    assert checkpoints(run)[-1].step == verdict.step
    assert checkpoints(run)[-1].prefix == verdict.checkpoint_prefix
    assert checkpoints(run)[-1].step == verdict.checkpoint_step


def damage(store: ObjectStore, key: str) -> None:
    content = bytearray(store.read(key))
    content[-3] ^= 1
    store.put(key, bytes(content))


def truncate(store: ObjectStore, key: str) -> None:
    store.put(key, store.read(key)[:-9])


def remove(store: ObjectStore, key: str) -> None:
    store.delete([key])


def interrupted(run: TrainingRun) -> None:
    monitor = LocalMonitor()
    with pytest.raises(Preempted):
        train_alone(run, monitor=monitor, draining=lambda: monitor.step >= 4)


@pytest.mark.parametrize("harm", [damage, truncate, remove])
@pytest.mark.parametrize("suffix", [".safetensors", "metadata.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    run: TrainingRun, undisturbed: TrainingRun, harm, suffix: str
) -> None:
    interrupted(run)
    newest = checkpoints(run)[-1]
    assert newest.step == 5
    harm(opened(run), next(file.key for file in newest.files if file.key.endswith(suffix)))
    monitor = LocalMonitor()
    assert train_alone(run, monitor=monitor).outcome == "Succeeded"
    assert any("step 5 is damaged" in warning for warning in monitor.published[-1].warnings)
    assert final_curve(run.storage.uri) == final_curve(undisturbed.storage.uri)
    assert newest.prefix not in {record.prefix for record in checkpoints(run)}


def test_a_run_without_an_intact_checkpoint_does_not_start_over_in_silence(run: TrainingRun) -> None:
    interrupted(run)
    for record in checkpoints(run):
        damage(opened(run), record.files[-1].key)
    with pytest.raises(NoIntactCheckpoint, match="fresh storage URI"):
        train_alone(run)


def test_another_model_is_refused_instead_of_loaded(run: TrainingRun) -> None:
    interrupted(run)
    other = ARCHITECTURE.model_copy(update={"rms_norm_eps": 1e-3})
    with pytest.raises(CheckpointMismatch, match="another model"):
        train_alone(run.model_copy(update={"architecture": other}))


def test_other_data_is_refused_instead_of_going_on(run: TrainingRun, tmp_path: Path) -> None:
    interrupted(run)
    root = Path(run.data.sources[0].storage.uri.removeprefix("file://"))
    store = open_store(Storage(uri=f"file://{tmp_path}/other"), environ={})
    for path in root.iterdir():
        if path.is_file():
            store.put_file(path.name, path)
    store.put("manifest.json", store.read("manifest.json").replace(b'"ownerUid":""', b'"ownerUid":"x"'))
    source = run.data.sources[0].model_copy(update={"storage": Storage(uri=store.uri)})
    data = run.data.model_copy(update={"sources": [source]})
    with pytest.raises(CheckpointMismatch, match="datasets"):
        train_alone(run.model_copy(update={"data": data}))


def test_a_run_starts_from_the_export_that_was_recorded_or_not_at_all(
    undisturbed: TrainingRun, dataset: str, tmp_path: Path
) -> None:
    """At a URI that does not tell the digest."""
    (exported,) = [
        each.record for each in log_entries(undisturbed.storage.uri) if each.record.kind == "export"
    ]
    base = tmp_path / "base"
    shutil.copytree(Path(urlsplit(undisturbed.storage.uri).path) / exported.prefix, base)
    recorded = {"uri": f"file://{base}", "digest": exported.digest}
    run = run_config(f"file://{tmp_path}/tuned", dataset, init_from=recorded)
    verdict = train_alone(run)
    assert verdict.outcome == "Succeeded", verdict.message
    origin = open_export(opened(run), verdict.digest).manifest.provenance.init_from
    assert origin is not None
    assert (origin.uri, origin.digest) == (recorded["uri"], exported.digest)
    (base / "manifest.json").write_text((base / "manifest.json").read_text().replace("owner", "owned", 1))
    with pytest.raises(ExportError, match=exported.digest):
        train_alone(run_config(f"file://{tmp_path}/altered", dataset, init_from=recorded))


def test_files_of_an_interrupted_checkpoint_are_removed_by_the_next_epoch(run: TrainingRun) -> None:
    interrupted(run)
    orphan = "data/00000001-00000000-0000-0000-0000-000000000000/rank00000-00000.safetensors"
    newer = "data/00000009-00000000-0000-0000-0000-000000000000/rank00000-00000.safetensors"
    foreign = "data/of-someone-else"
    for key in (orphan, newer, foreign):
        opened(run).put(key, b"x")
    train_alone(run)
    keys = {info.key for info in opened(run).list("data/")}
    assert orphan not in keys
    assert {newer, foreign} <= keys
