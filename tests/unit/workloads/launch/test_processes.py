"""What the processes import that a start waits for, one after the other."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["ray_train", "trainer", "ray_prepare", "ray_serve", "preflight"])
def test_torch_is_imported_by_ranks_and_replicas_only(module: str) -> None:
    code = f"import sys, deepseek_workloads.launch.{module}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("module", ["trainer", "preflight"])
def test_libraries_that_prepare_datasets_are_imported_by_no_training_job(module: str) -> None:
    libraries = ("PIL", "ftfy", "py3langid", "phonenumbers", "rensa", "selectolax")
    code = (
        f"import sys, deepseek_workloads.launch.{module}; print([m for m in {libraries} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
