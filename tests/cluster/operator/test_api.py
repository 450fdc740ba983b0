"""What the API server itself refuses or says: it knows the CRDs, and needs no operator for it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness.kubectl import Kubectl, KubectlError

from deepseek_operator.api.kinds import KINDS
from deepseek_operator.api.schema import GROUP, VERSION


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("backend", "horovod"),
        ("image", "registry.example/other:2"),
        ("model", {"preset": "deepseek-v3-small"}),
        ("training", {"globalBatchSize": 16, "steps": 20}),
        ("storage", {"uri": "s3://models/elsewhere"}),
        ("workers", {"numProcPerNode": 2}),
        ("checkpoint", {"everySteps": 7}),
        ("checkpoint", {"mode": "sync"}),
    ],
)
def test_what_is_immutable_stays(kubectl: Kubectl, a_job: Any, path: str, value: Any) -> None:
    kubectl.apply(a_job(suspend=True))
    with pytest.raises(KubectlError, match=r"immutable|data-parallel"):
        kubectl.patch("dsjob", "tiny", {"spec": {path: value}})


def test_what_is_mutable_can_be_changed(kubectl: Kubectl, a_job: Any) -> None:
    kubectl.apply(a_job(suspend=True))
    kubectl.patch("dsjob", "tiny", {"spec": {"runPolicy": {"ttlSecondsAfterFinished": 60}}})
    kubectl.patch("dsjob", "tiny", {"spec": {"workers": {"nodeSelector": {"pool": "gpu"}}}})
    kubectl.patch("dsjob", "tiny", {"spec": {"checkpoint": {"keepLast": 9, "keepBest": {"metric": "loss"}}}})
    kubectl.patch("dsjob", "tiny", {"spec": {"suspend": False}})
    with pytest.raises(KubectlError, match="only while suspend is true"):
        kubectl.patch("dsjob", "tiny", {"spec": {"workers": {"nodeSelector": {"pool": "other"}}}})


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"keepEvery": 150}, "must be a multiple of everySteps"),
        ({"keepBest": {"metric": "held_out_loss"}}, "set evaluation.everySteps"),
        ({"keepBest": {"metric": "held out"}}, "metric"),
    ],
)
def test_what_no_checkpoint_could_be_kept_for_is_refused(
    kubectl: Kubectl, a_job: Any, kept: dict[str, Any], words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        kubectl.apply(a_job(checkpoint={"everySteps": 100, **kept}))


def test_an_unknown_field_is_an_error(kubectl: Kubectl, a_job: Any) -> None:
    with pytest.raises(KubectlError, match="unknown field"):
        kubectl.apply(a_job(lerningRate="3e-4"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {
                "model": {
                    "preset": "deepseek-v3-tiny",
                    "initFrom": {"storageUri": "s3://x/y", "modelName": "y"},
                }
            },
            "exactly one of",
        ),
        ({"training": {"globalBatchSize": 8, "steps": 1, "tokens": 1}}, "exactly one of"),
        ({"workers": {"numNodes": 1, "minNodes": 2}}, "minNodes is at most numNodes"),
        (
            {"training": {"globalBatchSize": 8, "steps": 1, "optimizer": {"learningRate": "fast"}}},
            "learningRate",
        ),
        ({"workers": {"resources": {"gpu": -1}}}, "greater than or equal to 0"),
        (
            {
                "backend": "horovod",
                "training": {"globalBatchSize": 8, "steps": 1, "parallelism": {"zeroStage": 2}},
            },
            "backend horovod is data-parallel only",
        ),
        (
            {"training": {"globalBatchSize": 8, "steps": 1, "horovod": {"compression": "fp16"}}},
            "belongs to backend horovod",
        ),
        (
            {"model": {"preset": "deepseek-v3-tiny", "vision": {"imageTokenId": 2, "imageSize": 100}}},
            "must be divided by patchSize",
        ),
    ],
)
def test_what_the_schema_can_see_is_refused_at_once(
    kubectl: Kubectl, a_job: Any, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        kubectl.apply(a_job(**change))


@pytest.mark.parametrize("name", ["a" * 41, "with.dot"])
def test_a_name_that_pods_cannot_be_made_of_is_refused(kubectl: Kubectl, a_job: Any, name: str) -> None:
    with pytest.raises(KubectlError, match=r"metadata\.name"):
        kubectl.apply(a_job(name))


def test_explain_tells_what_a_field_means(kubectl: Kubectl) -> None:
    text = kubectl.run("explain", "dsjob.spec.training.optimizer.learningRate")
    assert "Highest learning rate of the schedule" in text


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values()])
def test_explain_describes_every_field(kubectl: Kubectl, kind: str) -> None:
    """From the document that kubectl explain reads."""
    document = json.loads(kubectl.run("get", "--raw", f"/openapi/v3/apis/{GROUP}/{VERSION}"))
    schemas = document["components"]["schemas"]
    (schema,) = [each for name, each in schemas.items() if name.endswith(f".{kind}")]
    fields = {path: field for path, field in fields_below(schema) if path.startswith(("spec.", "status."))}
    assert len(fields) > 10
    assert [path for path, field in fields.items() if not field.get("description")] == []


def fields_below(schema: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{at}{name}", field
        yield from fields_below(field, f"{at}{name}.")
        yield from fields_below(field.get("items", {}), f"{at}{name}.")
