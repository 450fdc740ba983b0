"""Kubernetes expands `$(NAME)` in commands and environment values: no text of a user's may get there."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.resources.coordinator import build_coordinator_pod
from deepseek_operator.resources.pod_set import PodSet, pod_set_of, resource_name
from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.resources.run_objects import build_run_config_map
from deepseek_operator.resources.settings import BuildSettings, NetworkSettings
from deepseek_operator.resources.worker import build_worker_pod
from deepseek_operator.validation.dataset import dataset_run_of
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.run_config import DatasetRun, Storage, TrainingRun

GOLDEN = Path(__file__).parent / "golden"
PLANTED = "$(DEEPSEEK_JOB_TOKEN)"
SETTINGS = BuildSettings(
    worker_image="registry.example.com/worker:2",
    network=NetworkSettings(operator_labels={"app.kubernetes.io/name": "deepseek-operator"}),
)
DOCS = PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest="sha256:" + "ab" * 32)


def training_job() -> tuple[DeepSeekTrainingJob, TrainingRun]:
    document = yaml.safe_load((GOLDEN / "training-job.yaml").read_text())
    document["spec"].setdefault("evaluation", {})["prompts"] = [PLANTED]
    document["spec"]["storage"]["uri"] = f"s3://models/{PLANTED}"
    document["spec"]["storage"]["endpointUrl"] = f"http://s3.example.com/{PLANTED}"
    job = DeepSeekTrainingJob.model_validate(document)
    return job, training_run_of(job, datasets={"docs": DOCS})


def dataset() -> tuple[DeepSeekDataset, DatasetRun]:
    document = yaml.safe_load((GOLDEN / "dataset.yaml").read_text())
    for source in document["spec"]["sources"]:
        source["include"] = [PLANTED]
    found = DeepSeekDataset.model_validate(document)
    return found, dataset_run_of(found)


def pods(resource: DeepSeekTrainingJob | DeepSeekDataset, run: TrainingRun | DatasetRun) -> list[Any]:
    pod_set: PodSet = pod_set_of(resource, run=run, settings=SETTINGS)
    return [
        build_coordinator_pod(pod_set, incarnation=0, failures=0),
        build_worker_pod(pod_set, index=0, incarnation=0),
    ]


@pytest.mark.parametrize("make", [training_job, dataset])
def test_what_a_user_wrote_reaches_a_pod_only_as_a_file(make: Any) -> None:
    resource, run = make()
    assert PLANTED in str(build_run_config_map(resource_name(resource), run))
    for pod in pods(resource, run):
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            expanded = [container.get("command"), container.get("args"), container.get("env")]
            assert PLANTED not in str(expanded)
