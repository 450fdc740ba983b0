"""manifests/demo/ fits what the demo provides; that the operator accepts it is tested with its types."""

from pathlib import Path

import pytest

from deepseek_demo.corpus import chat
from deepseek_demo.corpus.sources import COLLECTIONS
from deepseek_demo.demo import read_manifests
from deepseek_demo.object_store import Installation
from deepseek_demo.storage_setup import BUCKET, RAW_PREFIX, SECRET
from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.training_job import DeepSeekTrainingJob

MANIFESTS = read_manifests(Path(__file__).resolve().parents[3])
DATASET = DeepSeekDataset.model_validate(MANIFESTS.dataset)
JOB = DeepSeekTrainingJob.model_validate(MANIFESTS.job)
SERVICE = DeepSeekModelService.model_validate(MANIFESTS.service)
CHAT_DATASET = DeepSeekDataset.model_validate(MANIFESTS.chat_dataset)
CHAT_JOB = DeepSeekTrainingJob.model_validate(MANIFESTS.chat_job)


def test_two_ray_workers_train_a_mixture_of_experts() -> None:
    assert (JOB.spec.backend, JOB.spec.workers.num_nodes) == ("ray", 2)
    assert JOB.spec.model.preset == "deepseek-v3-tiny"


def test_the_job_reads_the_dataset() -> None:
    [source] = JOB.spec.data.sources
    assert source.dataset_ref is not None
    assert source.dataset_ref.name == DATASET.metadata.name


def test_the_second_job_goes_on_from_the_first_ones_model_with_its_tokenizer() -> None:
    assert CHAT_JOB.spec.model.init_from is not None
    assert CHAT_JOB.spec.model.init_from.model_name == JOB.metadata.name
    assert CHAT_JOB.spec.model.architecture == JOB.spec.model.architecture
    assert CHAT_DATASET.spec.tokenizer.dataset_ref is not None
    assert CHAT_DATASET.spec.tokenizer.dataset_ref.name == DATASET.metadata.name
    [source] = CHAT_DATASET.spec.sources
    assert chat.KEY.startswith(source.uri.removeprefix(f"s3://{BUCKET}/{RAW_PREFIX}"))


def test_the_service_answers_with_the_models_of_both_jobs() -> None:
    assert SERVICE.spec.model.model_name == JOB.metadata.name
    assert CHAT_JOB.spec.rollout is not None
    assert CHAT_JOB.spec.rollout.service_ref.name == SERVICE.metadata.name


@pytest.mark.parametrize("resource", [DATASET, JOB, CHAT_DATASET, CHAT_JOB], ids=lambda r: r.metadata.name)
def test_storage_is_the_demos(resource: DeepSeekDataset | DeepSeekTrainingJob) -> None:
    storage = resource.spec.storage
    assert resource.metadata.namespace == MANIFESTS.namespace["metadata"]["name"]
    assert storage.uri.startswith(f"s3://{BUCKET}/")
    assert storage.endpoint_url == Installation().endpoint_url
    assert storage.secret_ref is not None
    assert storage.secret_ref.name == SECRET


def test_every_collection_of_the_corpus_is_read_in_its_format() -> None:
    read = {source.uri.rstrip("/") + "/": source.format for source in DATASET.spec.sources}
    for collection in COLLECTIONS:
        uri = f"s3://{BUCKET}/{RAW_PREFIX}{collection.prefix}"
        formats = [form for prefix, form in read.items() if uri.startswith(prefix)]
        assert formats == [collection.format], uri


def test_the_namespace_is_restricted() -> None:
    labels = MANIFESTS.namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
