"""Which function reconciles which kind."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.cluster.interface import Cluster
from deepseek_operator.cluster.kinds import DATASET, MODEL_REVISION, MODEL_SERVICE, TRAINING_JOB, Kind
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.drift_check import reconcile_drift_check
from deepseek_operator.reconcile.inputs import Inputs, inputs_of_dataset, inputs_of_job
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.model_revision import Recorded, record_revision
from deepseek_operator.reconcile.model_service import reconcile_service
from deepseek_operator.reconcile.recorded import reconcile_revision
from deepseek_operator.reconcile.run import RunKind, reconcile_run
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.status import dataset as dataset_status
from deepseek_operator.status import training_job as job_status
from deepseek_operator.status.observed import Observed
from deepseek_workloads.contract.messages import Verdict


def build_reconcilers(context: Context) -> Mapping[Kind, Callable[[Key], Awaitable[float | None]]]:
    return {
        TRAINING_JOB: partial(reconcile_run, context, TRAINING_JOBS),
        DATASET: partial(_reconcile_dataset, context),
        MODEL_REVISION: partial(reconcile_revision, context),
        MODEL_SERVICE: partial(reconcile_service, context),
    }


async def _reconcile_dataset(context: Context, key: Key) -> float | None:
    """Its preparation, and what is done again and again afterwards. Each reads the resource anew."""
    looks = [await reconcile_run(context, DATASETS, key), await reconcile_drift_check(context, key)]
    return min((each for each in looks if each is not None), default=None)


async def _job_inputs(cluster: Cluster, job: DeepSeekTrainingJob, build: BuildSettings) -> Inputs:
    image = build.default_image(backend=job.spec.backend)
    return await inputs_of_job(cluster, job, worker_image=image)


async def _dataset_inputs(cluster: Cluster, dataset: DeepSeekDataset, build: BuildSettings) -> Inputs:
    return await inputs_of_dataset(cluster, dataset, worker_image=build.worker_image)


async def _record_job(
    cluster: Cluster, job: DeepSeekTrainingJob, verdict: Verdict, observed: Observed
) -> Recorded:
    return await record_revision(cluster, job, verdict=verdict, observed=observed)


async def _record_nothing(*_: object) -> Recorded:
    return Recorded()


TRAINING_JOBS: RunKind[DeepSeekTrainingJob] = RunKind(
    kind=TRAINING_JOB,
    parse=DeepSeekTrainingJob.model_validate,
    inputs=_job_inputs,
    compute_status=job_status.compute_status,
    record=_record_job,
    revision=lambda job: job.status.export.revision if job.status.export else "",
)
DATASETS: RunKind[DeepSeekDataset] = RunKind(
    kind=DATASET,
    parse=DeepSeekDataset.model_validate,
    inputs=_dataset_inputs,
    compute_status=dataset_status.compute_status,
    record=_record_nothing,
    revision=lambda _: "",
)
