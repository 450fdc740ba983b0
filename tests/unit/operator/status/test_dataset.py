"""What a user reads of a dataset."""

from datetime import datetime
from typing import Any

import jsonschema

from deepseek_operator.api.custom_resource import build_schema
from deepseek_operator.api.kinds import DATASET
from deepseek_operator.resources.run_config import prepared_dataset
from deepseek_operator.status.dataset import compute_status
from deepseek_operator.status.observed import Observed
from deepseek_workloads.contract.messages import Progress, StageProgress, Verdict

DIGEST = "sha256:" + "0123456789ab" + "0" * 52


def test_the_stage_in_progress_shows(make_dataset: Any, make_pod: Any, now: datetime) -> None:
    stages = [
        StageProgress(name="read", done=4, total=4),
        StageProgress(name="tokenize", done=1, total=4),
        StageProgress(name="publish", done=0, total=1),
    ]
    pods = (make_pod("coordinator"), make_pod())
    observed = Observed(now=now, pods=pods, progress=Progress(phase="Preparing", stages=stages))
    status = compute_status(make_dataset(), observed)
    assert (status.state, status.stage, status.progress) == ("Preparing", "tokenize", "25%")


def test_a_finished_dataset_can_be_referred_to(make_dataset: Any, make_ended: Any, now: datetime) -> None:
    verdict = Verdict(
        outcome="Succeeded",
        reason="Completed",
        digest=DIGEST,
        report_digest=f"sha256:{'f' * 64}",
        uri="s3://corpus/docs",
        statistics={"documents": 120.0, "tokens": 34567.0, "vocabSize": 8192.0},
    )
    dataset = make_dataset()
    assert prepared_dataset(dataset) is None
    status = compute_status(dataset, Observed(now=now, pods=(make_ended(verdict),)))
    assert (status.state, status.documents, status.tokens, status.vocab_size) == (
        "Succeeded",
        120,
        34567,
        8192,
    )
    assert status.short_digest == "0123456789ab"
    assert status.report_digest == f"sha256:{'f' * 64}"
    prepared = prepared_dataset(dataset.model_copy(update={"status": status}))
    assert prepared is not None
    assert (prepared.digest, prepared.storage.uri) == (DIGEST, "s3://corpus/docs")
    jsonschema.validate(status.to_document(), build_schema(DATASET)["properties"]["status"])
