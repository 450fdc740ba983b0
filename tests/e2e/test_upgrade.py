"""A release is upgraded and rolled back while a job trains and a service answers: neither notices."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.kubectl import condition, conditions_in_words
from harness.platform import OPERATOR_NAMESPACE, ROOT, Platform
from harness.resources import model_service
from harness.serving import constant_load, lost, wait_for_active

NEW_FIELD = "description of a later version"
SERVICE = "steady"


def newer_chart(folder: Path) -> Path:
    """This chart as a later version would be: another version, another text in a CRD."""
    chart = folder / "deepseek-operator"
    shutil.copytree(ROOT / "charts/deepseek-operator", chart)
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**described, "version": "0.2.0"}))
    crd = chart / "templates/crds/deepseektrainingjobs.yaml"
    text = crd.read_text()
    first = text.index("description:")
    crd.write_text(f"{text[:first]}description: {NEW_FIELD}\n{text[text.index(chr(10), first) + 1 :]}")
    return chart


def helm(platform: Platform, *arguments: str) -> None:
    target = ["--kubeconfig", str(platform.cluster.kubeconfig), "--namespace", OPERATOR_NAMESPACE]
    command = [str(platform.cluster.helm), *arguments, *target, "--wait", "--timeout", "180s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def training_job_crd(platform: Platform) -> str:
    return platform.kubectl.run("get", "crd", "deepseektrainingjobs.deepseek.dev", "-o", "yaml")


@pytest.fixture
def service(platform: Platform, undisturbed: str) -> Iterator[str]:
    revision = platform.get("dsjob", undisturbed)["status"]["export"]["revision"]
    platform.kubectl.apply(model_service(SERVICE, revision=revision))
    wait_for_active(platform, SERVICE, revision=revision)
    yield SERVICE
    platform.kubectl.delete("dsserve", SERVICE, "--wait=true")


def pod_uids(platform: Platform, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in platform.pods(name)}


def test_a_running_job_and_a_loaded_service_do_not_notice_an_upgrade_and_a_rollback(
    platform: Platform, dataset: str, undisturbed: str, service: str, tmp_path: Path
) -> None:
    # One node has not the memory for both.
    name = platform.apply_job("upgraded", dataset, platform.workers_on_the_second_node())
    report = dict[str, Any]()
    platform.wait_for_step(name, 10)
    before = pod_uids(platform, name), pod_uids(platform, service)
    chart = newer_chart(tmp_path)
    with constant_load(platform, service, report=report):
        helm(
            platform, "upgrade", "deepseek-operator", str(chart), "--reuse-values", "--set", "logLevel=DEBUG"
        )
        assert NEW_FIELD in training_job_crd(platform)
        assert (pod_uids(platform, name), pod_uids(platform, service)) == before
        helm(platform, "rollback", "deepseek-operator")
        assert NEW_FIELD not in training_job_crd(platform)
        job = platform.wait_until_finished(name)
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    assert platform.worker_pods_ever(name) == 2
    assert (job["status"]["restarts"], job["status"]["failures"]) == (0, 0)
    assert platform.history(name).epochs == [1]
    assert platform.history(name).sample_ids() == platform.history(undisturbed).sample_ids()
    assert lost(report) == {}
    assert pod_uids(platform, service) == before[1]
