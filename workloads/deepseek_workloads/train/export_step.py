"""The model of any step that still has a checkpoint, as an export: beside a run that goes on, or after it.

    python -m deepseek_workloads.train.export_step --step 400 [--run-config run-config.json]

Prints the export's URI and digest, which a DeepSeekModelRevision names. It reads the commit log and adds
nothing to it: only the run's own epoch may. On the CPU, with memory for the weights in float32 and once more
for the file that is written.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.recipe import model_digest
from deepseek_workloads.contract.records import EpochRecord
from deepseek_workloads.contract.run_config import Parallelism, Storage, TrainingRun
from deepseek_workloads.contract.run_file import UnusableRunConfig, read_run
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.export.publish import Export
from deepseek_workloads.plan.estimate import parameters
from deepseek_workloads.plan.memory_rules import INSUFFICIENT_MEMORY
from deepseek_workloads.store.interface import ObjectStore, StoreError
from deepseek_workloads.store.log import CheckpointEntry, CommitLog, LogEntry, live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.checkpoint import Identity, load_weights
from deepseek_workloads.train.exporting import export_state
from deepseek_workloads.train.group import LocalGroup
from deepseek_workloads.train.json_lines import json_line
from deepseek_workloads.train.models import model_of
from deepseek_workloads.train.opened import Epoch, Opened, open_data
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.quantise import quantise_weights
from deepseek_workloads.train.watch.memory import spare_memory

_OF_A_STEP: Final = {"loss", "gradient_norm", "learning_rate", "tokens_per_second"}  # no evaluation's
# What only training computes with.
_PLAIN: Final[dict[str, Any]] = {
    "precision": "fp32",
    "precision_overrides": [],
    "loss_function": None,
    "activation_checkpointing": "none",
    "compile": None,
}


_BYTES_OF_A_PARAMETER: Final = 2 * 4  # in float32, and once more for the file
_OF_THE_FRAMEWORK: Final = 2**29  # bytes: Python and torch


class NoSuchStep(StoreError):
    reason = reasons.CHECKPOINT_MISMATCH


class NoRoom(StoreError):
    reason = INSUFFICIENT_MEMORY


def export_step(
    run: TrainingRun, step: int, *, open_store: Callable[[Storage], ObjectStore], spare: int | None = None
) -> Export:
    """`spare`: bytes of memory that may be taken; None: no limit. Raises NoRoom, NoSuchStep, StoreErrors and
    DatasetError."""
    if run.training.entrypoint is not None:
        raise NoSuchStep(
            f"spec.training.entrypoint: {run.training.entrypoint}: only its code knows the model: "
            "load the checkpoint by its RunContext"
        )
    _check_room(run, spare)
    store = open_store(run.storage)
    entries = CommitLog(store).records()
    entry = _checkpoint_of(step, entries, uri=store.uri)
    group = LocalGroup(0, 1, torch.device("cpu"))
    data = open_data(run, open_store, group)
    identity = Identity(model_digest(run), data.digests)
    if entry.record.architecture_digest not in ("", identity.architecture_digest):
        raise NoSuchStep(f"{store.uri}: its checkpoints are of another model than the run config's")
    opened = Opened(run, group, store, None, _epoch_of(entry, entries), data, identity, None)
    model = _model(run, group)
    load_weights(store, entry.record, model.module, group=group)
    if run.training.quantisation is not None and run.training.quantisation.mode != "aware":
        quantise_weights(model.deepseek, run.training.quantisation)
    metrics = entry.record.metrics
    return export_state(
        opened, model, entry, {name: value for name, value in metrics.items() if name not in _OF_A_STEP}
    )


def _check_room(run: TrainingRun, spare: int | None) -> None:
    """Before anything is loaded: what else lives in this container must not be killed for its memory. A model
    of the user's code has a size that only its code knows. Raises NoRoom."""
    if run.model_function is not None:
        return
    needed = _BYTES_OF_A_PARAMETER * parameters(run.architecture) + _OF_THE_FRAMEWORK
    if spare is not None and needed > spare:
        raise NoRoom(
            f"this container has {spare / 2**30:.1f} GiB of memory left, and the export needs "
            f"{needed / 2**30:.1f} GiB: run the command in a pod of the same image with that much, and with "
            "--run-config and the run config of the job's ConfigMap"
        )


def _checkpoint_of(step: int, entries: Sequence[LogEntry], *, uri: str) -> CheckpointEntry:
    live = live_checkpoints(entries)
    for entry in reversed(live):
        if entry.record.step == step:
            return entry
    steps = ", ".join(str(entry.record.step) for entry in live) or "none"
    raise NoSuchStep(
        f"{uri}: step {step} has no checkpoint, these have: {steps}; spec.checkpoint.keepEvery keeps more"
    )


def _epoch_of(entry: CheckpointEntry, entries: Sequence[LogEntry]) -> Epoch:
    """That wrote it: the export's provenance is its."""
    number = entry.record.epoch
    records = [each.record for each in entries if isinstance(each.record, EpochRecord)]
    digest = next((each.run_config_digest for each in records if each.epoch == number), "")
    return Epoch(number, entries, digest)


def _model(run: TrainingRun, group: LocalGroup) -> ParallelModel:
    plain = run.training.model_copy(update={**_PLAIN, "parallelism": Parallelism(zero_stage=0)})
    return model_of(run.model_copy(update={"training": plain}), group)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.train.export_step")
    parser.add_argument("--step", type=int, required=True)
    default = os.environ.get(environment.RUN_CONFIG_PATH, environment.RUN_CONFIG_FILE)
    parser.add_argument("--run-config", type=Path, default=Path(default))
    asked = parser.parse_args(argv)
    try:
        run = read_run(asked.run_config)
    except UnusableRunConfig as error:
        print(error, file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    if not isinstance(run, TrainingRun):
        parser.error(f"--run-config {asked.run_config}: is of a {run.kind}, only training has checkpoints")
    try:
        export = export_step(run, asked.step, open_store=open_store, spare=spare_memory())
    except (StoreError, DatasetError) as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        again = isinstance(error, StoreError) and error.transient
        return int(ExitCode.TRY_AGAIN if again else ExitCode.BAD_INPUT)
    print(json_line({"step": asked.step, "storageUri": export.uri, "digest": export.digest}))
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
