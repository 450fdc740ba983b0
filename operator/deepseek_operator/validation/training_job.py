"""Whether a training job is possible, and the run config that it then becomes."""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import ValidationError

from deepseek_operator.api.training_data import DatasetSource
from deepseek_operator.api.training_job import DeepSeekTrainingJob, TrainingJobSpec
from deepseek_operator.resources.run_config import PreparedDataset, render_training_run
from deepseek_operator.validation.bounds import problems_of
from deepseek_operator.validation.storage import GivenUri, check_account, check_endpoint, check_uris
from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import InitialExport, Storage, TrainingRun
from deepseek_workloads.plan.architecture import ArchitectureRefused, resolve
from deepseek_workloads.plan.architecture_rules import served_by_no_engine
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.plan.size_rules import check_min_nodes

NO_IMAGE: Final = "NoImage"
# Stand for an export or a dataset that is not ready yet: what it will be changes no rule.
_ANY_EXPORT: Final = InitialExport(uri="s3://pending/pending")
_ANY_DATASET: Final = PreparedDataset(storage=Storage(uri="s3://pending/pending"), digest=None)


def validate_training_job(job: DeepSeekTrainingJob, *, worker_image: str) -> list[Problem]:
    """Everything that can be said before the datasets are ready. Empty: the job is possible.

    `worker_image` is the installation's default for the job's backend. Of a job whose run config was pinned
    before, only what can have changed since.
    """
    begun = bool(job.status.run_config_digest)
    problems = [*_fields(job, worker_image)]
    architecture = _architecture(job, problems)
    if architecture is not None and job.spec.rollout is not None and not begun:
        problems += _not_served(architecture)
    if problems or architecture is None:
        return problems
    waiting = job.spec.dataset_names
    run = _rendered(job, architecture, dict.fromkeys(waiting, _ANY_DATASET), problems)
    if run is None:
        return problems
    return check_training(run, begun=True) if begun else check_training(run) or check_min_nodes(run)


def training_run_of(
    job: DeepSeekTrainingJob,
    *,
    datasets: Mapping[str, PreparedDataset],
    init_from: InitialExport | None = None,
    teacher: InitialExport | None = None,
) -> TrainingRun:
    """The run config of a job that `validate_training_job` let pass; `datasets` by the name in datasetRef,
    `init_from` the export that spec.model.initFrom stands for, `teacher` that of the distillation."""
    spec = job.spec.model
    architecture = resolve(spec.preset, spec.to_overrides())
    return render_training_run(
        job, architecture=architecture, datasets=datasets, init_from=init_from, teacher=teacher
    )


def _fields(job: DeepSeekTrainingJob, worker_image: str) -> Iterator[Problem]:
    spec = job.spec
    secret = spec.storage.secret_ref
    yield from check_uris(_uris(spec), endpoint_url=spec.storage.endpoint_url)
    yield from check_account(_uris(spec), secret=secret.name if secret else None)
    yield from check_endpoint(spec.storage.endpoint_url, field="spec.storage.endpointUrl")
    for place, source in _sources(spec):
        yield from check_endpoint(source.endpoint_url, field=f"{place}.endpointUrl")
    mlflow, wandb = spec.monitoring.mlflow, spec.monitoring.wandb
    if mlflow is not None:
        yield from check_endpoint(mlflow.tracking_uri, field="spec.monitoring.mlflow.trackingUri")
    if wandb is not None:
        yield from check_endpoint(wandb.base_url, field="spec.monitoring.wandb.baseUrl")
    if not spec.image and not worker_image:
        yield no_horovod_image() if spec.backend == "horovod" else no_image()
    if spec.rollout is not None and spec.training.entrypoint is not None:
        yield _nothing_to_roll_out(spec.training.entrypoint)
    if spec.rollout is not None and spec.model.function is not None:
        yield _nothing_to_serve(spec.model.function)


def _sources(spec: TrainingJobSpec) -> Iterator[tuple[str, DatasetSource]]:
    """With the field of each."""
    for field, sources in (("data", spec.data.sources), ("evaluation", spec.evaluation.sources)):
        for index, source in enumerate(sources):
            yield f"spec.{field}.sources[{index}]", source


def _uris(spec: TrainingJobSpec) -> Iterator[GivenUri]:
    """Its own first. A source may name an endpoint of its own, what else the job reads uses its own."""
    yield GivenUri("spec.storage.uri", spec.storage.uri)
    for place, source in _sources(spec):
        if source.uri is not None:
            yield GivenUri(f"{place}.uri", source.uri, shares_endpoint=not source.endpoint_url)
    distillation, vision = spec.training.distillation, spec.model.vision
    if distillation is not None and distillation.teacher_logits is not None:
        yield GivenUri("spec.training.distillation.teacherLogits.uri", distillation.teacher_logits.uri)
    exports = {
        "spec.model.vision.initFrom": vision.init_from if vision else None,
        "spec.model.initFrom": spec.model.init_from,
        "spec.training.distillation.teacher": distillation.teacher if distillation else None,
    }
    for field, export in exports.items():
        if export is not None and export.storage_uri is not None:
            yield GivenUri(f"{field}.storageUri", export.storage_uri)


def no_image() -> Problem:
    return Problem(
        field="spec.image",
        value="none",
        rule="must name the image of the pods, since the installation has no default worker image",
        remedy="set spec.image, or the chart's worker.image",
        reason=NO_IMAGE,
    )


def no_horovod_image() -> Problem:
    return Problem(
        field="spec.image",
        value="none",
        rule="must name an image with Horovod, since the installation has no default one for backend horovod",
        remedy="set spec.image, or the chart's worker.horovodImage; docs/horovod.md tells how to build one",
        reason=NO_IMAGE,
    )


def _nothing_to_roll_out(entrypoint: str) -> Problem:
    return Problem(
        field="spec.rollout",
        value="given",
        rule=f"wants a model revision, which is not made of what entrypoint {entrypoint} trains",
        remedy="leave spec.rollout away: the weights are in the final checkpoint",
        reason=INVALID_TRAINING,
    )


def _nothing_to_serve(function: str) -> Problem:
    return Problem(
        field="spec.rollout",
        value="given",
        rule=f"wants a model that can be served, and only the code of {function} computes this job's",
        remedy="leave spec.rollout away: the export has the weights by the module's own names",
        reason=INVALID_TRAINING,
    )


def _not_served(architecture: Architecture) -> Iterator[Problem]:
    """What the service's preflight would tell when all steps are paid for."""
    for why in served_by_no_engine(architecture):
        yield Problem(
            field="spec.rollout",
            value="given",
            rule=f"wants a model that can be served, and this one's {why}",
            remedy="use another attention.kind, or leave spec.rollout away: the export has a modelling file",
            reason=INVALID_TRAINING,
        )


def _architecture(job: DeepSeekTrainingJob, problems: list[Problem]) -> Architecture | None:
    model = job.spec.model
    try:
        return resolve(model.preset, model.to_overrides())
    except ArchitectureRefused as refused:
        problems += refused.problems
        return None


def _rendered(
    job: DeepSeekTrainingJob,
    architecture: Architecture,
    datasets: Mapping[str, PreparedDataset],
    problems: list[Problem],
) -> TrainingRun | None:
    try:
        start = _ANY_EXPORT if job.spec.model.init_from is not None else None
        return render_training_run(
            job, architecture=architecture, datasets=datasets, init_from=start, teacher=_ANY_EXPORT
        )
    except ValidationError as error:
        problems += problems_of(error, fields={"spec.data.mixture": "spec.data.mixture.schedule"})
        return None
