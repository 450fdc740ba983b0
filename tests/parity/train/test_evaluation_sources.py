"""Datasets that are measured beside the held-out split: figures of their own, and nothing is learned."""

from pathlib import Path

import pytest
from training_cases import VOCABULARY, log_entries, run_config, train_alone, write_dataset

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import Source, Storage, TrainingRun
from deepseek_workloads.data.manifest import DatasetError

STEPS = 20


def measured_on(run: TrainingRun, **sources: str) -> TrainingRun:
    listed = [Source(name=name, storage=Storage(uri=uri)) for name, uri in sources.items()]
    return run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"sources": listed})})


@pytest.fixture(scope="module")
def another_rule(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("another-rule"), factor=3)


@pytest.fixture(scope="module")
def runs(dataset: str, another_rule: str, tmp_path_factory: pytest.TempPathFactory) -> list[TrainingRun]:
    """Without and with the sets."""
    folder = tmp_path_factory.mktemp("runs")
    plain, measured = (
        run_config(f"file://{folder}/{name}", dataset, steps=STEPS) for name in ("plain", "measured")
    )
    return [plain, measured_on(measured, learned=dataset, unseen=another_rule)]


@pytest.fixture(scope="module")
def verdicts(runs: list[TrainingRun]) -> list[Verdict]:
    return [train_alone(run) for run in runs]


def test_each_set_has_figures_of_its_own(verdicts: list[Verdict]) -> None:
    plain, measured = (verdict.evaluation for verdict in verdicts)
    for name in ("learned", "unseen"):
        of_set = {figure for figure in measured if figure.startswith(f"{name}/")}
        assert of_set == {
            f"{name}/{figure}" for figure in ("loss", "perplexity", "bits_per_byte", "accuracy")
        }
    assert {name: measured[name] for name in plain} == plain, "the held-out split's are as without"


def test_what_was_learned_is_measured_as_better_than_what_was_not(verdicts: list[Verdict]) -> None:
    measured = verdicts[1].evaluation
    assert measured["learned/loss"] < measured["unseen/loss"]
    assert measured["learned/bits_per_byte"] < measured["unseen/bits_per_byte"]


def test_nothing_is_learned_from_them(runs: list[TrainingRun], verdicts: list[Verdict]) -> None:
    assert [verdict.outcome for verdict in verdicts] == ["Succeeded", "Succeeded"]
    plain, measured = (
        [
            entry.record.metrics["loss"]
            for entry in log_entries(run.storage.uri)
            if entry.record.kind == "checkpoint"
        ]
        for run in runs
    )
    assert plain == measured


def test_a_set_of_another_tokenizer_is_refused_by_name(dataset: str, tmp_path: Path) -> None:
    foreign = write_dataset(tmp_path, vocabulary=VOCABULARY - 1)
    run = measured_on(run_config(f"file://{tmp_path}/run", dataset), foreign=foreign)
    with pytest.raises(DatasetError, match="evaluation source 'foreign': tokenizer"):
        train_alone(run)
