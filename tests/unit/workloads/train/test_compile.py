"""An image without a compiler: `always` is refused, `auto` goes without and says so."""

from pathlib import Path

import pytest
import torch

from deepseek_workloads.contract.run_config import (
    Data,
    Owner,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.train.compile import missing_compiler, whether_compiled
from deepseek_workloads.train.refused import SettingRefused

STORAGE = Storage(uri="s3://models/tiny")
GPU, CPU = torch.device("cuda"), torch.device("cpu")


def run(compile: str | None) -> TrainingRun:
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=512),
        training=Training(steps=100, global_batch_size=8, compile=compile),
        workers=Workers(num_nodes=2),
        storage=STORAGE,
    )


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is in PATH."""
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str) -> None:
    (folder / name).touch(mode=0o755)


@pytest.mark.parametrize(("device", "name"), [(GPU, "gcc or clang"), (CPU, "g++")])
def test_always_without_a_compiler_is_refused(programs: Path, device: torch.device, name: str) -> None:
    with pytest.raises(SettingRefused) as refused:
        whether_compiled(run("always"), device)
    assert str(refused.value) == (
        f"spec.training.compile: always: the image has no compiler {name}: use an image with it, such as the "
        "project's worker image, or never"
    )
    assert list(programs.iterdir()) == []


@pytest.mark.usefixtures("programs")
def test_auto_without_a_compiler_warns_and_goes_on() -> None:
    compiled, warning = whether_compiled(run("auto"), GPU)
    assert not compiled
    assert warning is not None
    assert warning.startswith("spec.training.compile: auto: the image has no compiler gcc or clang")


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("wanted", [None, "auto"])
def test_a_cpu_that_compiles_nothing_needs_none(wanted: str | None) -> None:
    assert whether_compiled(run(wanted), CPU) == (False, None)


@pytest.mark.parametrize(("device", "program"), [(GPU, "gcc"), (GPU, "clang"), (CPU, "g++")])
def test_one_that_is_there_is_taken(
    programs: Path, device: torch.device, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, program)
    (programs / "Python.h").touch()
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(programs)})
    assert whether_compiled(run("always"), device) == (True, None)


def test_one_that_the_environment_names_is_the_only_one(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, "gcc")
    monkeypatch.setenv("CC", "icx")
    assert missing_compiler(GPU) == "compiler icx"


def test_headers_of_python_are_needed(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(programs, "gcc")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(programs)})
    assert missing_compiler(GPU) == f"{programs}/Python.h"
