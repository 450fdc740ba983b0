"""Every manifest of ours is accepted: by the types, by the schema of its CRD, and by validation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deepseek_operator.api.custom_resource import build_schema
from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.kinds import KINDS
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.validation.dataset import validate_dataset
from deepseek_operator.validation.model_service import validate_service
from deepseek_operator.validation.training_job import validate_training_job

MANIFESTS = Path(__file__).parents[4] / "manifests"


def _documents() -> Iterator[Any]:
    for folder in ("examples", "demo"):
        for path in sorted((MANIFESTS / folder).glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                if document["apiVersion"] == "deepseek.dev/v1alpha1":
                    name = document["metadata"]["name"]
                    yield pytest.param(document, id=f"{folder}/{path.name}:{name}")


DOCUMENTS = list(_documents())


def test_there_are_examples_of_every_kind() -> None:
    assert {parameters.values[0]["kind"] for parameters in DOCUMENTS} == set(KINDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_types_accept_it(document: dict[str, Any]) -> None:
    KINDS[document["kind"]].model.model_validate(document)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_schema_of_its_crd_accepts_it(document: dict[str, Any]) -> None:
    jsonschema.validate(document, build_schema(KINDS[document["kind"]]))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_validation_accepts_it(document: dict[str, Any]) -> None:
    resource = KINDS[document["kind"]].model.model_validate(document)
    if isinstance(resource, DeepSeekTrainingJob):
        assert validate_training_job(resource, worker_image="worker") == []
    if isinstance(resource, DeepSeekDataset):
        assert validate_dataset(resource, worker_image="worker") == []
    if isinstance(resource, DeepSeekModelService):
        assert validate_service(resource, worker_image="worker") == []
