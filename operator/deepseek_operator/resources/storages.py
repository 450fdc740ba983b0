"""Every prefix that a run reads or writes: what its pods must be able to reach."""

from collections.abc import Iterator, Mapping
from typing import Any

from deepseek_workloads.contract.run_config import AnyRun, DatasetRun, ServingRun, Storage, TrainingRun


def storages_of(run: AnyRun) -> list[Storage]:
    """Its own first."""
    if isinstance(run, DatasetRun):
        raw = [run.raw_storage.model_copy(update={"uri": uri}) for uri in _raw_uris(run)]
        return [run.storage, *raw]
    if isinstance(run, ServingRun):
        baseline = run.check.baseline
        return [run.storage, *([baseline.storage] if baseline else [])]
    sources = [*run.data.sources, *(run.evaluation.sources or ())]
    return [run.storage, *_models(run), *(source.storage for source in sources)]


def _models(run: TrainingRun) -> list[Storage]:
    distillation = run.training.distillation
    taught = [distillation.teacher, distillation.teacher_logits] if distillation else []
    return [place for place in (run.init_from, run.vision_init_from, *taught) if place is not None]


def _raw_uris(run: DatasetRun) -> Iterator[str]:
    """All are read from the sources' service."""
    yield from (source.uri for source in run.raw_sources)
    if run.tokenizer_uri is not None:
        yield run.tokenizer_uri
    for stage in run.pipeline or ():
        yield from _named_uris(stage.model_dump(exclude_none=True))


def _named_uris(settings: Mapping[str, Any]) -> Iterator[str]:
    """Of a stage, by the names of its fields: `uri`, `uris`, `..._uri`."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _named_uris(value)
        elif name == "uris":
            yield from value
        elif name == "uri" or name.endswith("_uri"):
            yield value
