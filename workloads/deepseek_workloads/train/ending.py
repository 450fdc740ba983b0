"""How a run ends: evaluation and export of what was trained, and the verdict that says so."""

from collections.abc import Sequence
from typing import Any, Final

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.records import ExportRecord
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import open_export
from deepseek_workloads.export.publish import Export
from deepseek_workloads.store.interface import NotFound
from deepseek_workloads.store.log import CheckpointEntry, LogEntry
from deepseek_workloads.train.assessment import assess
from deepseek_workloads.train.checkpoint import Position
from deepseek_workloads.train.exporting import export_state
from deepseek_workloads.train.quantise import quantise_weights
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.setup import Setup
from deepseek_workloads.train.stopwatch import Stopwatch

_COMPARED: Final = {"held_out_loss", "held_out_bits_per_byte"}


def complete(
    setup: Setup,
    position: Position,
    entry: CheckpointEntry,
    reporter: Reporter | None,
    watch: Stopwatch,
) -> Verdict:
    """Evaluates and exports the state of the final checkpoint `entry`, which the model holds. A collective.

    A run that was interrupted after its export finds it and repeats nothing.
    """
    verdict = setup.group.on_rank_zero(lambda: _exported_before(setup, position, entry))
    if verdict is not None:
        return verdict
    figures = _final_figures(setup, position, reporter, watch)
    if reporter is not None:
        reporter.phase("Exporting")
    with watch.part("export"):
        export = _export(setup, entry, figures)
    if reporter is not None:
        reporter.phase("Done")
    return _completed(setup, position, entry, digest=export.digest, uri=export.uri, figures=figures)


def _final_figures(
    setup: Setup, position: Position, reporter: Reporter | None, watch: Stopwatch
) -> dict[str, float]:
    """Of the model that is exported; where it is rounded only now, also of the one before, as `exact_*`."""
    figures = assess(setup, position, reporter, watch)
    quantisation = setup.run.training.quantisation
    if quantisation is None or quantisation.mode == "aware":
        return figures
    exact = {f"exact_{name}": figures[name] for name in _COMPARED & figures.keys()}
    quantise_weights(setup.model.deepseek, quantisation)
    return assess(setup, position, reporter, watch) | exact


def stopped(setup: Setup, position: Position, entry: CheckpointEntry | None) -> Verdict:
    return Verdict(
        outcome="Stopped",
        reason=reasons.STOPPED,
        message=f"stopped as asked after step {position.step}; its checkpoint is written",
        exit_code=ExitCode.DONE,
        **place(setup.epoch.number, position, entry),
    )


def numeric_failure(setup: Setup, position: Position, entry: CheckpointEntry | None, message: str) -> Verdict:
    """The step was not applied: the last good checkpoint stays the newest. `message`: the alert's."""
    return Verdict(
        outcome="Failed",
        reason=reasons.NUMERIC_FAILURE,
        message=(f"step {position.step + 1}: {message}; {_last(entry)}. {_remedy(setup.run)}"),
        exit_code=ExitCode.NUMERIC_FAILURE,
        **place(setup.epoch.number, position, entry),
    )


def _remedy(run: TrainingRun) -> str:
    """Of numbers that are not finite: code of the user's image is the first to be looked at."""
    settings = (
        "Lower spec.training.optimizer.learningRate or spec.training.gradientClipNorm, or lengthen "
        "spec.training.schedule.warmupSteps"
    )
    own = {
        "spec.training.lossFunction": run.training.loss_function,
        "spec.model.function": run.model_function,
    }
    named = [f"{field} {function!r}" for field, function in own.items() if function is not None]
    if not named:
        return settings
    return f"See first whether {' and '.join(named)} gives a finite loss for these samples. {settings}"


def stopped_by_alert(
    setup: Setup, position: Position, entry: CheckpointEntry | None, message: str
) -> Verdict:
    return Verdict(
        outcome="Failed",
        reason=reasons.STOPPED_BY_ALERT,
        message=(f"step {position.step + 1}: {message}; {_last(entry)}. Change the training or the rule"),
        exit_code=ExitCode.NUMERIC_FAILURE,
        **place(setup.epoch.number, position, entry),
    )


def _last(entry: CheckpointEntry | None) -> str:
    return f"the checkpoint of step {entry.record.step} is kept" if entry else "there is no checkpoint yet"


def _completed(
    setup: Setup,
    position: Position,
    entry: CheckpointEntry,
    *,
    digest: str,
    uri: str,
    figures: dict[str, float],
) -> Verdict:
    return Verdict(
        outcome="Succeeded",
        reason=reasons.COMPLETED,
        message=f"trained {position.step} steps on {position.tokens} tokens",
        exit_code=ExitCode.DONE,
        digest=digest,
        uri=uri,
        evaluation=figures,
        **place(setup.epoch.number, position, entry),
    )


def place(epoch: int, position: Position, entry: CheckpointEntry | None) -> dict[str, Any]:
    """Where a run ended, as fields of a Verdict. `entry`: the newest checkpoint."""
    return {
        "epoch": epoch,
        "step": position.step,
        "consumed_samples": position.consumed_samples,
        "checkpoint_prefix": entry.record.prefix if entry else "",
        "checkpoint_step": entry.record.step if entry else None,
    }


def _export(setup: Setup, entry: CheckpointEntry, figures: dict[str, float]) -> Export:
    export = export_state(setup, setup.model, entry, figures)

    def commit() -> None:
        assert setup.writer is not None
        setup.writer.commit_export(step=entry.record.step, digest=export.digest, prefix=export.prefix)

    setup.group.on_rank_zero(commit)
    return export


def _exported_before(setup: Setup, position: Position, entry: CheckpointEntry) -> Verdict | None:
    record = _export_of(setup.epoch.entries, entry)
    if record is None:
        return None
    try:
        reader = open_export(setup.store, record.digest)
    except (ExportError, NotFound):
        return None  # it is exported again
    uri = f"{setup.store.uri}/{record.prefix.rstrip('/')}"
    figures = reader.manifest.evaluation
    return _completed(setup, position, entry, digest=record.digest, uri=uri, figures=figures)


def _export_of(entries: Sequence[LogEntry], checkpoint: CheckpointEntry) -> ExportRecord | None:
    """The newest export that was made from this checkpoint: of its step, and after it in the log."""
    for entry in reversed(entries):
        record = entry.record
        if entry.index <= checkpoint.index:
            return None
        if isinstance(record, ExportRecord) and record.step == checkpoint.record.step:
            return record
    return None
