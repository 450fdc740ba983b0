"""kubectl is run as a program: what it is given, and what its failures say."""

import json
from pathlib import Path

import pytest

from deepseek_demo.commands import StepFailed
from deepseek_demo.kubectl import Kubectl


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Kubectl, Path]:
    """A program in kubectl's place that writes down its arguments and its input."""
    program, record = tmp_path / "kubectl", tmp_path / "record"
    program.write_text(f'#!/bin/sh\necho "$@" > {record}\ncat >> {record}\n')
    program.chmod(0o755)
    return Kubectl((str(program),), tmp_path / "log"), record


def test_objects_are_applied_as_one_list_that_no_file_keeps(recording: tuple[Kubectl, Path]) -> None:
    kubectl, record = recording
    kubectl.apply([{"kind": "Secret", "stringData": {"key": "hidden"}}])
    arguments, document = record.read_text().split("\n", 1)
    assert arguments.split()[:2] == ["apply", "--server-side"]
    assert json.loads(document)["items"] == [{"kind": "Secret", "stringData": {"key": "hidden"}}]
    assert "hidden" not in kubectl.log.read_text()


def test_a_refusal_is_told_in_the_words_of_the_api_server(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'namespaces \"x\" not found' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(StepFailed, match='namespaces "x" not found') as error:
        Kubectl((str(program),), tmp_path / "log").apply([])
    assert error.value.log == tmp_path / "log"


def test_an_object_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert Kubectl(("true",), tmp_path / "log").get("job", "tiny", namespace="research") is None


def test_a_wait_that_ends_in_vain_says_for_what_and_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"waited 0 s for the S3 server; look at: kubectl describe"):
        Kubectl(("true",), tmp_path / "log").wait_for(
            lambda: False, what="the S3 server", seconds=0, look_at="kubectl describe", interval=0
        )
