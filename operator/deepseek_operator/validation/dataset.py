"""Whether a dataset can be prepared, and the run config that it then becomes."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import ValidationError

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.resources.run_config import PreparedDataset, render_dataset_run
from deepseek_operator.resources.schedule import InvalidSchedule, next_time
from deepseek_operator.validation.bounds import problems_of
from deepseek_operator.validation.pipeline import check_pipeline
from deepseek_operator.validation.storage import check_endpoint, check_uri
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
    yield from check_uri(spec.storage.uri, field="spec.storage.uri")
    yield from check_endpoint(spec.storage.endpoint_url, field="spec.storage.endpointUrl")
    if spec.source_storage is not None:
        yield from check_endpoint(spec.source_storage.endpoint_url, field="spec.sourceStorage.endpointUrl")
    location = spec.source_storage or spec.storage
    shared = spec.sources[0].uri if location.endpoint_url else None
    for index, source in enumerate(spec.sources):
        other = shared if index or spec.source_storage else shared and spec.storage.uri
        yield from check_uri(source.uri, field=f"spec.sources[{index}].uri", endpoint_of=other)
    yield from check_pipeline(spec.pipeline or [], endpoint_of=shared)
    if spec.tokenizer.uri is not None:
        yield from check_uri(spec.tokenizer.uri, field="spec.tokenizer.uri", endpoint_of=shared)
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
