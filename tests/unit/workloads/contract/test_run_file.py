"""What a person gives a command that reads a run config: a mistake is one line that names the file."""

from pathlib import Path

import pytest

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_file import UnusableRunConfig, read_run


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnusableRunConfig, match=f"--run-config {tmp_path}/none.json: No such file.*ConfigMap"
    ):
        read_run(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "EOF"), ('{"kind": "training"}', "training.owner: Field required, and .* more")],
)
def test_a_file_that_is_no_run_config_is_told_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UnusableRunConfig, match=words) as refused:
        read_run(tmp_path / "run.json")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("program", ["data.audit", "train.export_step", "launch.local"])
def test_commands_tell_it_without_a_traceback(
    tmp_path: Path, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import import_module  # the programs import torch

    step = ["--step", "1"] if program == "train.export_step" else []
    main = import_module(f"deepseek_workloads.{program}").main
    assert main([*step, "--run-config", str(tmp_path / "none.json")]) == ExitCode.BAD_INPUT
    assert len(capsys.readouterr().err.splitlines()) == 1
