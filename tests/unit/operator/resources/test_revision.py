"""What a finished job's model is recorded as."""

from typing import Any

import pytest

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.resources.revision import build_revision, revision_name
from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.status.training_job import build_plan
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import InitialExport, Storage

DIGEST = "sha256:" + "12345678" * 8
DATASET_DIGEST = "sha256:" + "ab" * 32
VERDICT = Verdict(
    outcome="Succeeded",
    reason="Completed",
    epoch=2,
    step=100,
    consumed_samples=800,
    checkpoint_prefix="data/x/",
    digest=DIGEST,
    uri="s3://models/tiny/exports/sha256-1",
    evaluation={"perplexity": 7.25, "held_out_bits_per_byte": 1.83},
)


def _built(job: Any, *, init_from: InitialExport | None = None) -> DeepSeekModelRevision:
    ready = PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest=DATASET_DIGEST)
    run = training_run_of(job, datasets={"docs": ready}, init_from=init_from)
    digest = "sha256:" + "0" * 64
    document = build_revision(job, run=run, run_config_digest=digest, verdict=VERDICT, plan=build_plan(run))
    return DeepSeekModelRevision.model_validate(document)


def test_a_revision_names_content_provenance_and_evaluation(make_job: Any) -> None:
    spec = _built(make_job()).spec
    assert (spec.digest, spec.model_name) == (DIGEST, "tiny")
    assert spec.provenance.job_ref is not None
    assert (spec.provenance.job_ref.name, spec.provenance.job_ref.uid) == ("tiny", "uid-of-tiny")
    assert (spec.provenance.epoch, spec.provenance.step) == (2, 100)
    assert spec.provenance.dataset_digests == [DATASET_DIGEST]
    assert {each.name: each.value for each in spec.evaluation} == {
        "held_out_bits_per_byte": "1.83",
        "perplexity": "7.25",
    }
    assert spec.secret_ref is not None
    assert spec.secret_ref.name == "s3-credentials"


@pytest.mark.parametrize("digest", [DATASET_DIGEST, None])
def test_a_fine_tuned_revision_names_the_export_that_it_came_from(make_job: Any, digest: str | None) -> None:
    base = _built(make_job(), init_from=InitialExport(uri="s3://models/base", digest=digest))
    assert base.spec.provenance.init_from is not None
    assert base.spec.provenance.init_from.storage_uri == "s3://models/base"
    assert base.spec.provenance.init_from.digest == digest
    assert _built(make_job()).spec.provenance.init_from is None


def test_a_revision_outlives_its_job(make_job: Any) -> None:
    assert _built(make_job()).metadata.owner_references == []


def test_names_are_short_and_follow_the_content() -> None:
    assert revision_name("tiny", digest=DIGEST) == "tiny-12345678"
    assert revision_name("a" * 40, digest=DIGEST) == "a" * 31 + "-12345678"
    assert revision_name("a" * 30 + "-" + "b" * 9, digest=DIGEST) == "a" * 30 + "-12345678"


def test_a_revision_carries_the_service_that_its_job_names(make_job: Any) -> None:
    named = _built(make_job({"rollout": {"serviceRef": {"name": "chat"}}})).spec.service_ref
    assert named is not None
    assert named.name == "chat"
    assert _built(make_job()).spec.service_ref is None
