"""One thread: other tests run beside, and sums keep their order."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def quiet_dcp() -> Iterator[None]:
    """torch.distributed.checkpoint logs each failed save with its stack, and each tensor of a good one."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)
