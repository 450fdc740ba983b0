"""Rules of a dataset's pipeline that its schema cannot state."""

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic.alias_generators import to_camel

from deepseek_operator.api.pipeline import PipelineStage
from deepseek_operator.validation.storage import GivenUri, check_endpoint
from deepseek_workloads.plan.problem import Problem

_MAKE_COPIES: Final = ("replace_synonyms", "reorder_clauses", "back_translate")


def check_pipeline(pipeline: Sequence[PipelineStage]) -> Iterator[Problem]:
    """But for the URIs of `pipeline_uris`, which are judged with the others that share their endpoint."""
    for index, stage in enumerate(pipeline):
        if stage.back_translate is not None:
            field = f"spec.pipeline[{index}].backTranslate.baseUrl"
            yield from check_endpoint(stage.back_translate.base_url, field=field)
    yield from _copies_last(pipeline)
    yield from _one_secret(pipeline)


def pipeline_uris(pipeline: Sequence[PipelineStage]) -> Iterator[GivenUri]:
    """Of what the stages read from the sources' storage."""
    for index, stage in enumerate(pipeline):
        for name, uri in _uris(stage):
            yield GivenUri(f"spec.pipeline[{index}].{name}", uri)


def _uris(stage: PipelineStage) -> Iterator[tuple[str, str]]:
    """(field, URI) of each object or model that the stage names."""
    if stage.decontaminate is not None:
        yield from _listed("decontaminate.uris", stage.decontaminate.uris)
    if stage.filter_perplexity is not None:
        yield from _listed("filterPerplexity.uris", stage.filter_perplexity.uris or ())
        if stage.filter_perplexity.model is not None:
            yield "filterPerplexity.model.uri", stage.filter_perplexity.model.uri
    if stage.replace_synonyms is not None and stage.replace_synonyms.lexicon_uri is not None:
        yield "replaceSynonyms.lexiconUri", stage.replace_synonyms.lexicon_uri
    if stage.annotate_entities is not None and stage.annotate_entities.entities_uri is not None:
        yield "annotateEntities.entitiesUri", stage.annotate_entities.entities_uri
    if stage.deduplicate_semantic is not None:
        yield "deduplicateSemantic.model.uri", stage.deduplicate_semantic.model.uri
    if stage.reorder_clauses is not None:
        yield "reorderClauses.model.uri", stage.reorder_clauses.model.uri


def _listed(name: str, uris: Sequence[str]) -> Iterator[tuple[str, str]]:
    for at, uri in enumerate(uris):
        yield f"{name}[{at}]", uri


def _copies_last(pipeline: Sequence[PipelineStage]) -> Iterator[Problem]:
    kinds = [next((kind for kind in _MAKE_COPIES if getattr(stage, kind)), "") for stage in pipeline]
    for index, (stage, kind) in enumerate(zip(pipeline, kinds, strict=True)):
        if kind and not all(kinds[index:]):
            yield Problem(
                field=f"spec.pipeline[{index}].{to_camel(kind)}",
                value=f"stage {index + 1} of {len(pipeline)}",
                rule="makes copies: a stage after it would not know them from their originals",
                remedy=f"move stage {stage.name!r} to the end; only stages that make copies may follow",
                reason="InvalidPipeline",
            )


def _one_secret(pipeline: Sequence[PipelineStage]) -> Iterator[Problem]:
    """The pods know one OPENAI_API_KEY, and send it to each service that is named."""
    stages = [
        (at, each.back_translate) for at, each in enumerate(pipeline) if each.back_translate is not None
    ]
    for at, stage in stages[1:]:
        if stage.secret_ref != stages[0][1].secret_ref:
            yield Problem(
                field=f"spec.pipeline[{at}].backTranslate.secretRef",
                value=repr(stage.secret_ref.name if stage.secret_ref else None),
                rule=f"must be that of stage {pipeline[stages[0][0]].name!r}: the pods know one key",
                remedy="name the same Secret in all stages of backTranslate, or in none",
                reason="InvalidPipeline",
            )
