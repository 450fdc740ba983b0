"""One thread: other tests run beside, and sums keep their order."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from training_cases import run_config, train_alone, write_dataset

from deepseek_workloads.contract.run_config import TrainingRun


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def quiet_dcp() -> Iterator[None]:
    """torch.distributed.checkpoint logs each failed save with its stack, and each tensor of a good one."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    run = run_config(f"file://{tmp_path_factory.mktemp('undisturbed')}/run", dataset)
    assert train_alone(run).outcome == "Succeeded"
    return run


@pytest.fixture
def run(dataset: str, tmp_path: Path) -> TrainingRun:
    return run_config(f"file://{tmp_path}/run", dataset)
