"""Records a job's model as a DeepSeekModelRevision: once for each export, and for good."""

from dataclasses import dataclass

from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.cluster.interface import AlreadyExists, Cluster, Forbidden, Rejected
from deepseek_operator.cluster.kinds import MODEL_REVISION
from deepseek_operator.resources.revision import build_revision
from deepseek_operator.status.observed import Observed
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun


@dataclass(frozen=True)
class Recorded:
    revision: str = ""  # its name; empty: there is none
    refused: str = ""  # why the API server would not have it, in words


async def record_revision(
    cluster: Cluster, job: DeepSeekTrainingJob, *, verdict: Verdict, observed: Observed
) -> Recorded:
    """The run config is part of the record: without it, or without an export, nothing is recorded."""
    if not verdict.digest or not isinstance(observed.run, TrainingRun):
        return Recorded()
    document = build_revision(
        job,
        run=observed.run,
        run_config_digest=observed.run_config_digest,
        verdict=verdict,
        plan=job.status.plan,
    )
    name: str = document["metadata"]["name"]
    try:
        await cluster.create(MODEL_REVISION, document)
    except AlreadyExists:
        return Recorded(name)
    except (Forbidden, Rejected) as error:
        return Recorded(refused=f"DeepSeekModelRevision {name} could not be created: {error}")
    return Recorded(name)
