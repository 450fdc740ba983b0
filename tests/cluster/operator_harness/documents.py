"""The resources that the tests apply: small, varied by keyword."""

from typing import Any

from harness.kubectl import Object


def job_document(name: str = "tiny", **spec: Any) -> Object:
    """A small job whose dataset is given by its URI, so that it starts at once."""
    base: Object = {
        "model": {"preset": "deepseek-v3-tiny"},
        "data": {"sources": [{"name": "docs", "uri": "s3://data/docs"}], "sequenceLength": 128},
        "training": {"globalBatchSize": 8, "steps": 20},
        "workers": {"numNodes": 2, "resources": {"cpu": "100m", "memory": "1Gi"}},
        "storage": {"uri": f"s3://models/{name}", "secretRef": {"name": "s3-credentials"}},
        "runPolicy": {"backoffLimit": 1},
    }
    return {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": "DeepSeekTrainingJob",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def dataset_document(name: str = "docs", **spec: Any) -> Object:
    base: Object = {
        "sources": [{"name": "raw", "uri": "s3://data/raw"}],
        "tokenizer": {"train": {"vocabSize": 8192}},
        "workers": {"numNodes": 1, "resources": {"cpu": "100m", "memory": "1Gi"}},
        "storage": {"uri": f"s3://data/{name}", "secretRef": {"name": "s3-credentials"}},
    }
    return {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": "DeepSeekDataset",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def revision_document(name: str, *, model: str = "tiny", **spec: Any) -> Object:
    base: Object = {
        "storageUri": f"s3://models/{model}/exports/{name}",
        "digest": "sha256:" + name[-1].encode().hex()[-1] * 64,
        "modelName": model,
        "secretRef": {"name": "s3-credentials"},
    }
    return {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": "DeepSeekModelRevision",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def service_document(name: str = "chat", **spec: Any) -> Object:
    """Serves revisions by their names, so that a test says when the next one comes."""
    small = {"resources": {"cpu": "100m", "memory": "1Gi"}}
    base: Object = {"replicas": {"min": 2, "max": 2}, "pods": small, "drainSeconds": 5}
    return {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": "DeepSeekModelService",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }
