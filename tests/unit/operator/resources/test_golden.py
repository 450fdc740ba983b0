"""A resource in, all objects of its run out: compared with what is written beside the input.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/operator/resources`, then read the difference.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.kinds import KINDS
from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.resources.coordinator import build_coordinator_pod
from deepseek_operator.resources.disruption_budget import build_disruption_budget
from deepseek_operator.resources.network_policy import build_http_policy, build_network_policy
from deepseek_operator.resources.pod_set import pod_set_of, resource_name
from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.resources.run_objects import (
    build_coordinator_service,
    build_run_config_map,
    build_token_secret,
)
from deepseek_operator.resources.serving import cluster_name, serving_pod_set, serving_target
from deepseek_operator.resources.serving_config import build_serving_config_map
from deepseek_operator.resources.settings import BuildSettings, NetworkSettings
from deepseek_operator.resources.stable_service import build_stable_service
from deepseek_operator.resources.worker import build_worker_pod
from deepseek_operator.validation.dataset import dataset_run_of
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.run_config import DatasetRun, Storage, TrainingRun

GOLDEN = Path(__file__).parent / "golden"
REVISION = DeepSeekModelRevision.model_validate(
    {
        "metadata": {"name": "tiny-moe-5f3a", "namespace": "research", "uid": "uid-of-revision"},
        "spec": {
            "storageUri": "s3://models/tiny-moe/exports/sha256-5f3a",
            "storageLocation": {"endpointUrl": "http://s3.storage.svc:7070"},
            "secretRef": {"name": "s3-credentials"},
            "digest": "sha256:" + "5f" * 32,
        },
    }
)
SETTINGS = BuildSettings(
    worker_image="registry.example.com/default-worker:2",
    network=NetworkSettings(operator_labels={"app.kubernetes.io/name": "deepseek-operator"}),
)
DOCS = PreparedDataset(
    storage=Storage(uri="s3://corpus/docs", endpoint_url="http://s3.storage.svc:7070"),
    digest="sha256:" + "ab" * 32,
)


def _run_of(resource: DeepSeekTrainingJob | DeepSeekDataset) -> TrainingRun | DatasetRun:
    if isinstance(resource, DeepSeekDataset):
        return dataset_run_of(resource)
    return training_run_of(resource, datasets={"docs": DOCS})


def _objects(resource: DeepSeekTrainingJob | DeepSeekDataset) -> list[dict[str, Any]]:
    name, run = resource_name(resource), _run_of(resource)
    pod_set = pod_set_of(resource, run=run, settings=SETTINGS)
    return [
        build_run_config_map(name, run),
        build_token_secret(name, token="0123abcd"),
        build_coordinator_service(name, incarnation=2),
        build_network_policy(pod_set),
        build_coordinator_pod(pod_set, incarnation=2, failures=1),
        build_worker_pod(pod_set, index=1, incarnation=3),
    ]


def _objects_of_service(service: DeepSeekModelService) -> list[dict[str, Any]]:
    target = serving_target(service, REVISION, settings=SETTINGS)
    name = cluster_name(service, "0a1b2c3d", run_config_uid="uid-of-run-config")
    run, template = target.run, target.template
    pod_set = serving_pod_set(name, run=run, template=template, settings=SETTINGS)
    return [
        build_serving_config_map(name, run=run, template=template, template_hash=target.template_hash),
        build_token_secret(name, token="0123abcd"),
        build_coordinator_service(name, incarnation=2),
        build_network_policy(pod_set),
        build_http_policy(pod_set),
        build_disruption_budget(pod_set, replicas=2),
        build_coordinator_pod(pod_set, incarnation=2, failures=1),
        build_worker_pod(pod_set, index=1, incarnation=3),
        build_stable_service(service, cluster="0a1b2c3d"),
    ]


@pytest.mark.parametrize("name", ["training-job", "training-job-on-claims", "dataset", "model-service"])
def test_objects_of_a_run(name: str) -> None:
    document = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    resource = KINDS[document["kind"]].model.model_validate(document)
    assert isinstance(resource, DeepSeekTrainingJob | DeepSeekDataset | DeepSeekModelService)
    served = isinstance(resource, DeepSeekModelService)
    objects = _objects_of_service(resource) if served else _objects(resource)
    built = yaml.safe_dump_all(objects, sort_keys=False, width=110)
    expected = GOLDEN / f"{name}.objects.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(built)
    assert built == expected.read_text()
