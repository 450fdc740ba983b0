"""What a dataset is held against, as objects: evaluation sets, which it does not read, and models of
stages."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.augmentation import ReorderClauses
from deepseek_workloads.contract.pipeline import PipelineStage
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.store.interface import NotFound, ObjectChanged, ObjectInfo

# Of a static embedding model, a transformer, an export: what tells one from another.
_MODEL_FILES: Final = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "modules.json",
    "1_Pooling/config.json",
    "manifest.json",
)
MAX_EVALUATION_BYTES = 1024**3  # of one object: it is read as a whole


def evaluation_fingerprint(context: Context, run: DatasetRun) -> list[str]:
    """uri, ETag and size of each evaluation set, reference and lexicon, before any work. Raises DatasetError,
    and StoreErrors where one cannot be found."""
    lines = []
    for stage in run.pipeline or ():
        for uri in _named_objects(stage):
            folder, _, name = uri.rpartition("/")
            with context.open(run.raw_storage.model_copy(update={"uri": folder})) as store:
                found = store.stat(name)
            if found.size > MAX_EVALUATION_BYTES:
                raise DatasetError(
                    f"spec.pipeline[{stage.name}]: uris: {uri}: {found.size} bytes: an "
                    f"evaluation set may have {MAX_EVALUATION_BYTES}: split it into several objects",
                    reasons.INVALID_RUN_CONFIG,
                )
            lines.append(line_of(uri, found))
    return lines


def _named_objects(stage: PipelineStage) -> list[str]:
    named = stage.decontaminate or stage.filter_perplexity
    lists = [
        stage.replace_synonyms and stage.replace_synonyms.lexicon_uri,
        stage.annotate_entities and stage.annotate_entities.entities_uri,
    ]
    return [*(named.uris if named is not None else ()), *(uri for uri in lists if uri)]


def model_fingerprint(context: Context, run: DatasetRun) -> list[str]:
    """The same of the models that stages name. A stage's first task says what is wrong with them. Raises
    DatasetError, and StoreErrors."""
    lines = []
    for stage in run.pipeline or ():
        named = stage.deduplicate_semantic or stage.filter_perplexity
        if named is not None and named.model is not None:
            lines += model_lines(context, named.model.uri)
        if stage.reorder_clauses is not None:
            lines.append(_parser_fingerprint(context, stage.reorder_clauses))
    return lines


def model_lines(context: Context, uri: str) -> list[str]:
    """line_of each of its files that is there."""
    lines = []
    with context.open(context.run.raw_storage.model_copy(update={"uri": uri})) as store:
        for name in _MODEL_FILES:
            with suppress(NotFound):
                lines.append(line_of(f"{uri}/{name}", store.stat(name)))
    return lines


def _parser_fingerprint(context: Context, settings: ReorderClauses) -> str:
    from deepseek_workloads.data.prepare.clause_stage import open_parser

    open_parser(context, settings)
    folder, _, name = settings.model.uri.rpartition("/")
    with context.open(context.run.raw_storage.model_copy(update={"uri": folder})) as store:
        return line_of(settings.model.uri, store.stat(name))


def line_of(uri: str, info: ObjectInfo) -> str:
    return f"{uri}\t{info.etag}\t{info.size}"


def check_unchanged(read: Sequence[str], expected: Sequence[str]) -> None:
    """`read`: as the objects were when a stage took them. Raises ObjectChanged."""
    changed = [line.partition("\t")[0] for line in read if line not in expected]
    if changed:
        raise ObjectChanged(f"{changed[0]}: was changed after the preparation began, which now begins again")
