"""What a run config is made from: the spec's own problems, and the datasets that a job waits for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.model import InitFrom
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.cluster.interface import Cluster
from deepseek_operator.cluster.kinds import DATASET, MODEL_REVISION
from deepseek_operator.reconcile.key import Key
from deepseek_operator.resources.revision import newest_revision, readable_revision
from deepseek_operator.resources.run_config import PreparedDataset, export_at, export_of, prepared_dataset
from deepseek_operator.status.outcome import FAILED
from deepseek_operator.validation.dataset import dataset_run_of, validate_dataset
from deepseek_operator.validation.model_revision import problems_with
from deepseek_operator.validation.training_job import training_run_of, validate_training_job
from deepseek_workloads.contract.run_config import AnyRun, InitialExport
from deepseek_workloads.plan.problem import Problem


@dataclass(frozen=True)
class Inputs:
    """Exactly one of the three is given."""

    problems: tuple[Problem, ...] = ()
    waiting: Mapping[Key, str] | None = None  # for which resource, in words
    render: Callable[[], AnyRun] | None = None


async def inputs_of_job(cluster: Cluster, job: DeepSeekTrainingJob, *, worker_image: str) -> Inputs:
    problems = validate_training_job(job, worker_image=worker_image)
    if problems:
        return Inputs(problems=tuple(problems))
    ready: dict[str, PreparedDataset] = {}
    waiting: dict[Key, str] = {}
    for name in _dataset_names(job):
        prepared = await _prepared(cluster, Key(DATASET, job.metadata.namespace, name), waiting)
        if prepared is not None:
            ready[name] = prepared
    distillation = job.spec.training.distillation
    init_from = await _export_named(cluster, job, job.spec.model.init_from, waiting, problems)
    wanted = distillation.teacher if distillation else None
    teacher = await _export_named(cluster, job, wanted, waiting, problems)
    if problems:
        return Inputs(problems=tuple(problems))
    if waiting:
        return Inputs(waiting=waiting)
    return Inputs(render=partial(training_run_of, job, datasets=ready, init_from=init_from, teacher=teacher))


async def _export_named(
    cluster: Cluster,
    job: DeepSeekTrainingJob,
    wanted: InitFrom | None,
    waiting: dict[Key, str],
    problems: list[Problem],
) -> InitialExport | None:
    """The export that a reference of the job stands for; an entry in `waiting` where it does not exist yet,
    and in `problems` where it can never be read."""
    namespace = job.metadata.namespace
    if wanted is None:
        return None
    if wanted.storage_uri is not None:
        return export_at(wanted.storage_uri, job)
    if wanted.revision_ref is not None:
        name = wanted.revision_ref.name
        document = await cluster.get(MODEL_REVISION, name=name, namespace=namespace)
        if document is not None and not document["metadata"].get("deletionTimestamp"):
            revision = readable_revision(document)
            if revision is not None:
                problems += problems_with(revision)
                return export_of(revision)
            missing = f"DeepSeekModelRevision {name} cannot be read: see its conditions"
        else:
            missing = f"DeepSeekModelRevision {name} does not exist in namespace {namespace}: create it"
    else:
        name = wanted.model_name or ""
        documents = await cluster.list_(MODEL_REVISION, namespace=namespace)
        newest = newest_revision(documents, wanted=lambda each: each.spec.model_name == name)
        if newest is not None:
            problems += problems_with(newest)
            return export_of(newest)
        missing = (
            f"no DeepSeekModelRevision of namespace {namespace} has spec.modelName {name}: a job of that "
            "name records one when it succeeds"
        )
    waiting[Key(MODEL_REVISION, namespace, name)] = missing
    return None


async def inputs_of_dataset(cluster: Cluster, dataset: DeepSeekDataset, *, worker_image: str) -> Inputs:
    problems = validate_dataset(dataset, worker_image=worker_image)
    if problems:
        return Inputs(problems=tuple(problems))
    reference = dataset.spec.tokenizer.dataset_ref
    if reference is None:
        return Inputs(render=partial(dataset_run_of, dataset))
    waiting: dict[Key, str] = {}
    prepared = await _prepared(cluster, Key(DATASET, dataset.metadata.namespace, reference.name), waiting)
    if prepared is None:
        return Inputs(waiting=waiting)
    return Inputs(render=partial(dataset_run_of, dataset, tokenizer_of=prepared))


async def _prepared(cluster: Cluster, key: Key, waiting: dict[Key, str]) -> PreparedDataset | None:
    """None, and an entry in `waiting`, while the dataset is not ready."""
    document = await cluster.get(DATASET, name=key.name, namespace=key.namespace)
    try:
        dataset = DeepSeekDataset.model_validate(document) if document is not None else None
    except ValidationError:
        waiting[key] = f"DeepSeekDataset {key.name} cannot be read: see its conditions"
        return None
    prepared = prepared_dataset(dataset) if dataset is not None else None
    if prepared is None:
        waiting[key] = _why_waiting(dataset, key)
    return prepared


def _dataset_names(job: DeepSeekTrainingJob) -> Iterable[str]:
    return sorted(job.spec.dataset_names)


def _why_waiting(dataset: DeepSeekDataset | None, key: Key) -> str:
    if dataset is None:
        return f"DeepSeekDataset {key.name} does not exist in namespace {key.namespace}: create it"
    failed = next((c for c in dataset.status.conditions if c.type == FAILED and c.status == "True"), None)
    if failed is not None:
        return (
            f"DeepSeekDataset {key.name} failed ({failed.reason}: {failed.message}): "
            "mend it and create it again"
        )
    state = dataset.status.state or "new"
    stage = " ".join(filter(None, (dataset.status.stage, dataset.status.progress)))
    return f"DeepSeekDataset {key.name} is not ready yet: {state}{f', {stage}' if stage else ''}"
