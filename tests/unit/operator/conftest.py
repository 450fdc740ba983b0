"""Resources that are valid, to be varied by each test."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.training_job import DeepSeekTrainingJob

ROOT = Path(__file__).parents[3]

JOB_SPEC: Mapping[str, Any] = {
    "model": {"preset": "deepseek-v3-tiny"},
    "data": {"sources": [{"name": "docs", "datasetRef": {"name": "docs"}}], "sequenceLength": 128},
    "training": {"globalBatchSize": 8, "steps": 100},
    "workers": {"numNodes": 2, "resources": {"cpu": "1", "memory": "3Gi"}},
    "storage": {
        "uri": "s3://models/tiny",
        "endpointUrl": "http://s3.storage.svc:7070",
        "secretRef": {"name": "s3-credentials"},
    },
}

DATASET_SPEC: Mapping[str, Any] = {
    "sources": [{"name": "pages", "uri": "s3://corpus/raw", "format": "jsonl"}],
    "tokenizer": {"train": {"vocabSize": 8192}},
    "storage": {"uri": "s3://corpus/docs", "secretRef": {"name": "s3-credentials"}},
}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, None takes a key away, everything else replaces."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def _resource(kind: str, name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "research", "uid": f"uid-of-{name}", "generation": 1}
    return {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


MakeJob = Callable[..., DeepSeekTrainingJob]
MakeDataset = Callable[..., DeepSeekDataset]


@pytest.fixture(scope="session")
def make_job() -> MakeJob:
    """`make_job({"training": {"steps": 5}}, name="a")`: a valid job with these changes to its spec."""

    def make(
        changes: Mapping[str, Any] | None = None,
        *,
        name: str = "tiny",
        status: Mapping[str, Any] | None = None,
    ) -> DeepSeekTrainingJob:
        spec = merged(JOB_SPEC, changes or {})
        return DeepSeekTrainingJob.model_validate(_resource("DeepSeekTrainingJob", name, spec, status or {}))

    return make


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    """As `make_job`, for datasets."""

    def make(
        changes: Mapping[str, Any] | None = None,
        *,
        name: str = "docs",
        status: Mapping[str, Any] | None = None,
    ) -> DeepSeekDataset:
        spec = merged(DATASET_SPEC, changes or {})
        return DeepSeekDataset.model_validate(_resource("DeepSeekDataset", name, spec, status or {}))

    return make


@pytest.fixture(scope="session")
def root() -> Path:
    """Of the repository."""
    return ROOT
