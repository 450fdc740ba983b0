from pathlib import Path

import pytest

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.launch.arguments import parse_arguments, write_verdict


def test_the_supervisors_arguments_are_read(tmp_path: Path) -> None:
    config = tmp_path / "run-config.json"
    config.write_text("{}")
    arguments = parse_arguments(
        [f"--run-config={config}", f"--verdict-file={tmp_path}/v.json", "--attempt=3"], program="driver"
    )
    assert (arguments.run_document, arguments.attempt) == ("{}", 3)
    assert arguments.verdict_file == tmp_path / "v.json"


def test_a_missing_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([], program="driver")
    assert "--run-config" in capsys.readouterr().err


def test_a_verdict_is_there_as_a_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    verdict = Verdict(outcome="Succeeded", reason="Completed", step=7)
    write_verdict(tmp_path / "verdict.json", verdict)
    assert [path.name for path in tmp_path.iterdir()] == ["verdict.json"]
    assert Verdict.model_validate_json((tmp_path / "verdict.json").read_bytes()) == verdict
