"""The exported model of these tests; sibling modules are importable."""

import sys
from pathlib import Path

import pytest
import torch

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "model")]

from exported_model import (  # noqa: E402, F401
    architecture,
    export_tokenizer,
    exported,
    model,
    tokenizer,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
