"""The resources that the tests apply: complete, small, and varied by keyword."""

import copy
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

# Long enough to be hit in the middle, short enough to be run a dozen times.
STEPS = 200
BATCH = 8


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Object:
    """`base` with `change` laid over it, mappings merged and everything else replaced."""
    result = copy.deepcopy(dict(base))
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def storage(uri: str, endpoint_url: str, *, secret: str = "s3-credentials") -> Object:
    return {"uri": uri, "endpointUrl": endpoint_url, "secretRef": {"name": secret}}


def dataset(
    name: str, *, raw_uri: str, uri: str, endpoint_url: str, change: Mapping[str, Any] | None = None
) -> Object:
    spec = {
        "sources": [{"name": "corpus", "uri": raw_uri, "format": "jsonl", "include": ["*.jsonl"]}],
        "tokenizer": {"train": {"vocabSize": 2048}},
        "heldOutFraction": "0.05",
        "shardTokens": 262144,
        "workers": {"numNodes": 1, "resources": {"cpu": "250m", "memory": "2Gi"}},
        "coordinator": {"resources": {"cpu": "250m", "memory": "2Gi"}},
        "storage": storage(uri, endpoint_url),
        "runPolicy": {"startupDeadlineSeconds": 240},
    }
    return _resource("DeepSeekDataset", name, merged(spec, change or {}))


def training_job(
    name: str, *, dataset_name: str, uri: str, endpoint_url: str, change: Mapping[str, Any] | None = None
) -> Object:
    spec = {
        "model": {
            "preset": "deepseek-v3-tiny",
            "architecture": {"vocabSize": 2048, "numHiddenLayers": 2, "maxPositionEmbeddings": 256},
        },
        "data": {
            "sources": [{"name": "corpus", "datasetRef": {"name": dataset_name}}],
            "sequenceLength": 128,
            "seed": 17,
        },
        "training": {
            "globalBatchSize": BATCH,
            "steps": STEPS,
            "optimizer": {"learningRate": "3e-3"},
            "schedule": {"warmupSteps": 10},
        },
        "checkpoint": {"everySteps": 20, "keepLast": 3},
        "evaluation": {"maxSamples": 16},
        "workers": {"numNodes": 2, "resources": {"cpu": "250m", "memory": "2Gi"}},
        "coordinator": {"resources": {"cpu": "250m", "memory": "2Gi"}},
        "storage": storage(uri, endpoint_url),
        "runPolicy": {"startupDeadlineSeconds": 240, "drainSeconds": 5, "terminationGracePeriodSeconds": 15},
    }
    return _resource("DeepSeekTrainingJob", name, merged(spec, change or {}))


def _resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "deepseek.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def model_revision(name: str, *, of: Mapping[str, Any], change: Mapping[str, Any] | None = None) -> Object:
    """Another record of the export of a revision, as one makes it by hand."""
    taken = ("storageUri", "storageLocation", "secretRef", "digest")
    spec = {field: of["spec"][field] for field in taken}
    return _resource("DeepSeekModelRevision", name, merged(spec, change or {}))


def model_service(name: str, *, revision: str, change: Mapping[str, Any] | None = None) -> Object:
    spec = {
        "model": {"revisionRef": {"name": revision}},
        "pods": {"resources": {"cpu": "250m", "memory": "2Gi"}},
        "coordinator": {"resources": {"cpu": "100m", "memory": "2Gi"}},
        "engine": {"batchWaitMs": 5},
        "drainSeconds": 20,
        "rollout": {"progressDeadlineSeconds": 150, "check": {"prompts": ["The"]}},
    }
    return _resource("DeepSeekModelService", name, merged(spec, change or {}))
