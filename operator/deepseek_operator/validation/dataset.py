"""Whether a dataset can be prepared, and the run config that it then becomes."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import ValidationError

from deepseek_operator.api.dataset import DatasetSpec, DeepSeekDataset
from deepseek_operator.resources.run_config import PreparedDataset, render_dataset_run
from deepseek_operator.resources.schedule import InvalidSchedule, next_time
from deepseek_operator.validation.bounds import problems_of
from deepseek_operator.validation.pipeline import check_pipeline, pipeline_uris
from deepseek_operator.validation.storage import GivenUri, check_account, check_endpoint, check_uris
from deepseek_operator.validation.training_job import no_image
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.plan.problem import Problem


def validate_dataset(dataset: DeepSeekDataset, *, worker_image: str) -> list[Problem]:
    """Empty: the dataset can be prepared. `worker_image` is the installation's default."""
    problems = [*_fields(dataset, worker_image)]
    if not problems:
        try:
            render_dataset_run(dataset)
        except ValidationError as error:
            problems += problems_of(error)
    return problems


def dataset_run_of(dataset: DeepSeekDataset, *, tokenizer_of: PreparedDataset | None = None) -> DatasetRun:
    """The run config of a dataset that `validate_dataset` let pass; `tokenizer_of` is the dataset that
    spec.tokenizer.datasetRef stands for."""
    return render_dataset_run(dataset, tokenizer_of=tokenizer_of)


def _fields(dataset: DeepSeekDataset, worker_image: str) -> Iterator[Problem]:
    spec = dataset.spec
    secret = spec.storage.secret_ref
    yield from check_uris(_own_uris(spec), endpoint_url=spec.storage.endpoint_url)
    yield from check_endpoint(spec.storage.endpoint_url, field="spec.storage.endpointUrl")
    if spec.source_storage is not None:
        yield from check_endpoint(spec.source_storage.endpoint_url, field="spec.sourceStorage.endpointUrl")
        yield from check_uris(_raw_uris(spec), endpoint_url=spec.source_storage.endpoint_url)
    every = [*_own_uris(spec), *_raw_uris(spec)]
    yield from check_account(every, secret=secret.name if secret else None)
    yield from check_pipeline(spec.pipeline or [])
    if not spec.image and not worker_image:
        yield no_image()
    if spec.drift_check is not None:
        yield from _schedule(spec.drift_check.schedule)
    reference = spec.tokenizer.dataset_ref
    if reference is not None and reference.name == dataset.metadata.name:
        yield Problem(
            field="spec.tokenizer.datasetRef.name",
            value=repr(reference.name),
            rule="must be another dataset: this one would wait for itself",
            remedy="name the dataset that the model was trained on, or use tokenizer.train",
            reason="InvalidTokenizer",
        )
    train = spec.tokenizer.train
    if train is not None and len(set(train.special_tokens)) < len(train.special_tokens):
        yield Problem(
            field="spec.tokenizer.train.specialTokens",
            value=repr(train.special_tokens),
            rule="must name each token once",
            remedy="leave out the repeated ones",
            reason="InvalidTokenizer",
        )


def _own_uris(spec: DatasetSpec) -> Iterator[GivenUri]:
    """Of the storage that the dataset is written to, which is also read from where no other is named."""
    yield GivenUri("spec.storage.uri", spec.storage.uri)
    if spec.source_storage is None:
        yield from _raw_uris(spec)


def _raw_uris(spec: DatasetSpec) -> Iterator[GivenUri]:
    for index, source in enumerate(spec.sources):
        yield GivenUri(f"spec.sources[{index}].uri", source.uri)
    yield from pipeline_uris(spec.pipeline or [])
    if spec.tokenizer.uri is not None:
        yield GivenUri("spec.tokenizer.uri", spec.tokenizer.uri)


def _schedule(schedule: str) -> Iterator[Problem]:
    try:
        next_time(schedule, after=datetime.fromtimestamp(0, tz=UTC))
    except InvalidSchedule as error:
        yield Problem(
            field="spec.driftCheck.schedule",
            value=repr(schedule),
            rule=f"must be a cron expression of five fields: {error}",
            remedy="use for instance 0 3 * * 1: Mondays at 3 in the morning, UTC",
            reason="InvalidSchedule",
        )
