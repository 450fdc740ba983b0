"""A claim is mounted by the pods that need it, for writing only by those that write to it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from deepseek_operator.api.drift_check import DriftCheck
from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.resources.claims import Claim, claim_mounts, claim_volumes, claims_among
from deepseek_operator.resources.coordinator import build_coordinator_pod
from deepseek_operator.resources.drift_check import build_drift_check_pod
from deepseek_operator.resources.network_policy import build_network_policy
from deepseek_operator.resources.pod_set import PodSet, pod_set_of
from deepseek_operator.resources.run_config import PreparedDataset, export_at
from deepseek_operator.resources.serving import cluster_name, serving_pod_set, serving_target
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.resources.worker import build_worker_pod
from deepseek_operator.validation.dataset import dataset_run_of
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.run_config import Storage

SETTINGS = BuildSettings(worker_image="w")
MODEL = "filterPerplexity"
ON_CLAIM = {"storage": {"uri": "pvc://runs/tiny", "endpointUrl": None, "secretRef": None}}
READS_AND_WRITES = (Claim("corpus", written=False), Claim("runs", written=True))


def _job_pods(job: Any, docs: str) -> PodSet:
    datasets = {"docs": PreparedDataset(storage=Storage(uri=docs), digest=None)}
    return pod_set_of(job, run=training_run_of(job, datasets=datasets), settings=SETTINGS)


def _dataset_pods(dataset: Any) -> PodSet:
    return pod_set_of(dataset, run=dataset_run_of(dataset), settings=SETTINGS)


def test_a_job_writes_to_its_own_storage_alone(make_job: Any) -> None:
    assert _job_pods(make_job(ON_CLAIM), "pvc://corpus/docs").claims == READS_AND_WRITES


def test_a_claim_that_is_read_and_written_is_one_volume(make_job: Any) -> None:
    assert _job_pods(make_job(ON_CLAIM), "pvc://runs/docs").claims == (Claim("runs", written=True),)


def test_models_to_start_from_may_lie_on_a_claim_while_storage_does_not(make_job: Any) -> None:
    job = make_job({"model": {"initFrom": {"storageUri": "pvc://models/base"}}})
    docs = PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest=None)
    run = training_run_of(job, datasets={"docs": docs}, init_from=export_at("pvc://models/base", job))
    assert pod_set_of(job, run=run, settings=SETTINGS).claims == (Claim("models", written=False),)


def test_evaluation_sets_may_lie_on_a_claim(make_job: Any) -> None:
    sets = {"evaluation": {"sources": [{"name": "sets", "uri": "pvc://corpus/sets"}]}}
    assert _job_pods(make_job({**ON_CLAIM, **sets}), "s3://corpus/docs").claims == READS_AND_WRITES


@pytest.mark.parametrize(
    "changes",
    [
        {"sources": [{"name": "pages", "uri": "pvc://corpus/raw", "format": "jsonl"}]},
        {"tokenizer": {"train": None, "uri": "pvc://corpus/tokenizer.json"}},
        {"pipeline": [{"name": "eval", "decontaminate": {"uris": ["pvc://corpus/questions.jsonl"]}}]},
        {
            "pipeline": [
                {"name": "like", MODEL: {"uris": ["pvc://corpus/reference.txt"], "maxPerplexity": "9"}}
            ]
        },
        {"pipeline": [{"name": "like", MODEL: {"model": {"uri": "pvc://corpus/m"}, "maxPerplexity": "9"}}]},
        {"pipeline": [{"name": "same", "deduplicateSemantic": {"model": {"uri": "pvc://corpus/m"}}}]},
        {"pipeline": [{"name": "turn", "reorderClauses": {"model": {"uri": "pvc://corpus/m.udpipe"}}}]},
        {"pipeline": [{"name": "words", "replaceSynonyms": {"lexiconUri": "pvc://corpus/words.jsonl"}}]},
        {"pipeline": [{"name": "names", "annotateEntities": {"entitiesUri": "pvc://corpus/names.jsonl"}}]},
    ],
    ids=[
        "source",
        "tokenizer",
        "decontaminate",
        "reference",
        "model",
        "embeddings",
        "parser",
        "synonyms",
        "entities",
    ],
)
def test_whatever_a_dataset_reads_may_lie_on_a_claim(make_dataset: Any, changes: dict[str, Any]) -> None:
    assert _dataset_pods(make_dataset({**ON_CLAIM, **changes})).claims == READS_AND_WRITES


@pytest.mark.parametrize("build", [build_coordinator_pod, build_worker_pod])
def test_every_pod_of_a_run_mounts_them(make_job: Any, build: Callable[..., Any]) -> None:
    index = {"index": 0} if build is build_worker_pod else {}
    spec = build(_job_pods(make_job(ON_CLAIM), "pvc://corpus/docs"), incarnation=1, **index)["spec"]
    assert [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume] == [
        {"name": "claim-0", "persistentVolumeClaim": {"claimName": "corpus", "readOnly": True}},
        {"name": "claim-1", "persistentVolumeClaim": {"claimName": "runs"}},
    ]
    mounts = [each for each in spec["containers"][0]["volumeMounts"] if each["name"].startswith("claim-")]
    assert mounts == [
        {"name": "claim-0", "mountPath": "/mnt/claims/corpus", "readOnly": True},
        {"name": "claim-1", "mountPath": "/mnt/claims/runs"},
    ]
    assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_a_job_on_claims_alone_needs_no_credentials_and_no_way_out(make_job: Any) -> None:
    pods = _job_pods(make_job(ON_CLAIM), "pvc://corpus/docs")
    environment = build_worker_pod(pods, index=0, incarnation=1)["spec"]["containers"][0]["env"]
    assert not [each["name"] for each in environment if each["name"].startswith("AWS_")]
    siblings, dns = build_network_policy(pods)["spec"]["egress"]
    assert siblings["to"] == build_network_policy(pods)["spec"]["ingress"][0]["from"]
    assert {port["port"] for port in dns["ports"]} == {53}


def test_data_in_a_bucket_keeps_its_way_out(make_job: Any) -> None:
    assert _job_pods(make_job(ON_CLAIM), "s3://corpus/docs").storage_ports == (443,)


def test_a_drift_check_writes_to_none(make_dataset: Any) -> None:
    pods = _dataset_pods(make_dataset(ON_CLAIM))
    check = DriftCheck.model_validate({"schedule": "0 3 * * 1"})
    scheduled = datetime(2026, 1, 5, 3, tzinfo=UTC)
    pod = build_drift_check_pod(pods, check=check, digest="sha256:" + "ab" * 32, scheduled=scheduled)
    (mount,) = [
        each
        for each in pod["spec"]["containers"][0]["volumeMounts"]
        if each["mountPath"] == "/mnt/claims/runs"
    ]
    assert mount["readOnly"] is True


def test_replicas_of_a_service_only_read_the_model() -> None:
    revision = DeepSeekModelRevision.model_validate(
        {
            "metadata": {"name": "tiny-5f3a", "namespace": "research", "uid": "r"},
            "spec": {"storageUri": "pvc://runs/tiny/exports/sha256-5f3a", "digest": "sha256:" + "5f" * 32},
        }
    )
    service = DeepSeekModelService.model_validate(
        {
            "metadata": {"name": "tiny", "namespace": "research", "uid": "s"},
            "spec": {"model": {"revisionRef": {"name": "tiny-5f3a"}}},
        }
    )
    target = serving_target(service, revision, settings=SETTINGS)
    name = cluster_name(service, "0a1b2c3d")
    pods = serving_pod_set(name, run=target.run, template=target.template, settings=SETTINGS)
    assert pods.claims == (Claim("runs", written=False),)
    assert pods.storage_ports == ()


def test_a_long_name_of_a_claim_makes_no_long_name_of_a_volume() -> None:
    name = "a" * 253
    claims = claims_among(read=[f"pvc://{name}/x"], written=[])
    (volume,), (mount,) = claim_volumes(claims), claim_mounts(claims)
    assert volume["persistentVolumeClaim"]["claimName"] == name
    assert volume["name"] == mount["name"]
    assert len(volume["name"]) <= 63
