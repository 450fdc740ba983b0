"""A process that is killed at any call to its store, before or after the call took effect, costs only time.

The run that follows ends with the same samples, the same losses and the same weights as an undisturbed one.
"""

from itertools import count
from pathlib import Path

import pytest
from training_cases import (
    Killed,
    KillingStore,
    final_curve,
    log_entries,
    run_config,
    train_alone,
)

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.export.load import open_export
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.store.open import open_store


def config(folder: Path, dataset: str) -> TrainingRun:
    return run_config(f"file://{folder}", dataset, steps=4, checkpoint_every=2, keep_last=1)


def weights(run: TrainingRun, digest: str) -> list[FileEntry]:
    files = open_export(open_store(run.storage, environ={}), digest).manifest.files
    return [file for file in files if file.key.endswith(".safetensors")]


@pytest.fixture(scope="module")
def undisturbed(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, str]:
    run = config(tmp_path_factory.mktemp("undisturbed"), dataset)
    return run, train_alone(run).digest


def killed_at(run: TrainingRun, call: int, *, after: bool) -> bool:
    """False: the run has fewer calls, and ended."""
    stores: list[KillingStore] = []

    def wrap(store: ObjectStore) -> ObjectStore:
        stores.append(KillingStore(store, at=call, after=after))
        return stores[0]  # type: ignore[return-value]

    try:
        train_alone(run, wrap=wrap)
    except Killed:
        return True
    return stores[0].killed  # a thread beside the loop was at the call


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning", "ignore:unclosed file:ResourceWarning"
)
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_run_killed_at_any_call_and_started_again_equals_one_that_was_not(
    dataset: str, undisturbed: tuple[TrainingRun, str], tmp_path: Path, after: bool
) -> None:
    reference, digest = undisturbed
    for call in count():
        run = config(tmp_path / str(call), dataset)
        killed = killed_at(run, call, after=after)
        verdict = train_alone(run)
        assert verdict.outcome == "Succeeded", call
        assert final_curve(run.storage.uri) == final_curve(reference.storage.uri), call
        assert weights(run, verdict.digest) == weights(reference, digest), call
        live = live_checkpoints(log_entries(run.storage.uri))
        assert [entry.record.step for entry in live] == [4], call
        if not killed:
            break
    assert call > 15, "the calls of a whole run were tried"
