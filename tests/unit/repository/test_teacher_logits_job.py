"""The example Job that computes a teacher's logits: a command that is understood, in pods as safe as ours."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.train.teacher_logits.arguments import parse

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def job() -> Any:
    return yaml.safe_load((REPOSITORY / "manifests/examples/teacher-logits-job.yaml").read_text())


def test_each_of_its_processes_has_a_share(job: Any) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    shares = []
    for index in range(job["spec"]["completions"]):
        asked = parse(container["args"], {**values, "RANK": str(index)})
        shares.append((asked.rank, asked.world_size))
    assert shares == [(0, 2), (1, 2)]
    assert container["command"] == ["python", "-m", "deepseek_workloads.train.teacher_logits"]


def test_only_what_may_go_better_is_tried_again(job: Any) -> None:
    rules = {
        code: rule["action"]
        for rule in job["spec"]["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert rules == {int(ExitCode.BAD_INPUT): "FailJob", int(ExitCode.TRY_AGAIN): "Ignore"}


def test_its_pods_may_do_no_more_than_those_of_the_operator(job: Any) -> None:
    golden = REPOSITORY / "tests/unit/operator/resources/golden/training-job.objects.yaml"
    ours = next(each for each in yaml.safe_load_all(golden.read_text()) if each["kind"] == "Pod")["spec"]
    theirs = job["spec"]["template"]["spec"]
    for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "restartPolicy"):
        assert theirs[field] == ours[field]
    (container,) = theirs["containers"]
    assert container["securityContext"] == ours["containers"][0]["securityContext"]
