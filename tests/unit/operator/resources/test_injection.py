"""Kubernetes expands `$(NAME)` in commands and environment values: no text of a user's may get there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.resources.coordinator import build_coordinator_pod
from deepseek_operator.resources.pod_set import PodSet, pod_set_of, resource_name
from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.resources.run_objects import build_run_config_map
from deepseek_operator.resources.serving import cluster_name, serving_pod_set, serving_target
from deepseek_operator.resources.serving_config import build_serving_config_map
from deepseek_operator.resources.settings import BuildSettings, NetworkSettings
from deepseek_operator.resources.worker import build_worker_pod
from deepseek_operator.validation.dataset import dataset_run_of
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.run_config import Storage

GOLDEN = Path(__file__).parent / "golden"
PLANTED = "$(DEEPSEEK_JOB_TOKEN)"
SETTINGS = BuildSettings(
    worker_image="registry.example.com/worker:2",
    network=NetworkSettings(operator_labels={"app.kubernetes.io/name": "deepseek-operator"}),
)
DOCS = PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest="sha256:" + "ab" * 32)
Built = tuple[dict[str, Any], list[Any]]  # the ConfigMap of a run, and its pods


def training_job() -> Built:
    document = yaml.safe_load((GOLDEN / "training-job.yaml").read_text())
    document["spec"].setdefault("evaluation", {})["prompts"] = [PLANTED]
    document["spec"]["storage"]["uri"] = f"s3://models/{PLANTED}"
    document["spec"]["storage"]["endpointUrl"] = f"http://s3.example.com/{PLANTED}"
    job = DeepSeekTrainingJob.model_validate(document)
    run = training_run_of(job, datasets={"docs": DOCS})
    return build_run_config_map(resource_name(job), run), pods(pod_set_of(job, run=run, settings=SETTINGS))


def dataset() -> Built:
    document = yaml.safe_load((GOLDEN / "dataset.yaml").read_text())
    spec = document["spec"]
    for source in spec["sources"]:
        source |= {"include": [PLANTED], "exclude": [PLANTED], "textField": PLANTED}
        source["uri"] = f"s3://corpus/{PLANTED}"
    spec["sourceStorage"] = {"endpointUrl": f"http://s3.example.com/{PLANTED}"}
    spec["storage"] |= {"uri": f"s3://corpus/{PLANTED}", "endpointUrl": f"http://s3.example.com/{PLANTED}"}
    spec["tokenizer"] = {"train": {"vocabSize": 300, "specialTokens": [PLANTED, f"{PLANTED}/"]}}
    found = DeepSeekDataset.model_validate(document)
    run = dataset_run_of(found)
    pod_set = pod_set_of(found, run=run, settings=SETTINGS)
    return build_run_config_map(resource_name(found), run), pods(pod_set)


def model_service() -> Built:
    document = yaml.safe_load((GOLDEN / "model-service.yaml").read_text())
    document["spec"]["rollout"] = {"check": {"prompts": [PLANTED]}}
    service = DeepSeekModelService.model_validate(document)
    revision = DeepSeekModelRevision.model_validate(
        {
            "metadata": {"name": "tiny", "namespace": "research", "uid": "uid-of-revision"},
            "spec": {
                "storageUri": f"s3://models/{PLANTED}",
                "storageLocation": {"endpointUrl": f"http://s3.example.com/{PLANTED}"},
                "digest": "sha256:" + "5f" * 32,
            },
        }
    )
    target = serving_target(service, revision, settings=SETTINGS)
    name = cluster_name(service, "0a1b2c3d", run_config_uid="uid-of-run-config")
    config_map = build_serving_config_map(
        name, run=target.run, template=target.template, template_hash=target.template_hash
    )
    pod_set = serving_pod_set(name, run=target.run, template=target.template, settings=SETTINGS)
    return config_map, pods(pod_set)


def pods(pod_set: PodSet) -> list[Any]:
    return [
        build_coordinator_pod(pod_set, incarnation=0, failures=0),
        build_worker_pod(pod_set, index=0, incarnation=0),
    ]


@pytest.mark.parametrize("make", [training_job, dataset, model_service])
def test_what_a_user_wrote_reaches_a_pod_only_as_a_file(make: Callable[[], Built]) -> None:
    config_map, made = make()
    assert PLANTED in str(config_map)
    for pod in made:
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            expanded = [container.get("command"), container.get("args"), container.get("env")]
            assert PLANTED not in str(expanded)
            assert PLANTED not in str(container.get("livenessProbe")) + str(container.get("readinessProbe"))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (DeepSeekModelService, {"servedModelName": PLANTED}),
        (DeepSeekModelService, {"model": {"modelName": PLANTED}}),
        (DeepSeekModelService, {"model": {"revisionRef": {"name": PLANTED}}}),
        (DeepSeekModelService, {"apiKeysSecretRef": {"name": PLANTED}}),
        (DeepSeekModelService, {"pods": {"nodeSelector": {"pool": PLANTED}}}),
        (DeepSeekModelService, {"pods": {"priorityClassName": PLANTED}}),
        (DeepSeekDataset, {"workers": {"schedulerName": PLANTED}}),
        (DeepSeekDataset, {"tokenizer": {"datasetRef": {"name": PLANTED}}}),
    ],
)
def test_what_is_a_name_to_kubernetes_can_be_nothing_else(kind: Any, changes: dict[str, Any]) -> None:
    golden = {DeepSeekModelService: "model-service", DeepSeekDataset: "dataset"}[kind]
    document = yaml.safe_load((GOLDEN / f"{golden}.yaml").read_text())
    kind.model_validate(document)
    document["spec"] |= changes
    with pytest.raises(ValidationError):
        kind.model_validate(document)
