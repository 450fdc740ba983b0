"""The steps of a pipeline, one after another, over all parts. It does not know where the parts run."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from deepseek_workloads.contract.augmentation import BackTranslate, ReorderClauses
from deepseek_workloads.contract.pipeline import (
    Decontaminate,
    DeduplicateExact,
    DeduplicateNear,
    DeduplicateSemantic,
    DeduplicateSubstrings,
    FilterPerplexity,
    FilterTfIdf,
    ScoreDifficulty,
)
from deepseek_workloads.data.prepare.back_translation import back_translate_part, check_service
from deepseek_workloads.data.prepare.clause_stage import reorder_part
from deepseek_workloads.data.prepare.contamination import collect_ngrams, contaminated_part
from deepseek_workloads.data.prepare.corpus_state import Corpus, Stages
from deepseek_workloads.data.prepare.deduplicate_stage import deduplicate_range, plan_ranges
from deepseek_workloads.data.prepare.difficulty_stage import score_part
from deepseek_workloads.data.prepare.document_frequencies import count_part, plan_totals, total_range
from deepseek_workloads.data.prepare.named_models import check_model
from deepseek_workloads.data.prepare.near_components import drop_near_duplicates
from deepseek_workloads.data.prepare.near_pairs import find_pairs
from deepseek_workloads.data.prepare.near_signatures import plan_bands, sign_part
from deepseek_workloads.data.prepare.pass_stage import pass_part
from deepseek_workloads.data.prepare.perplexity_stage import (
    drop_perplexing,
    drop_unpredicted,
    model_reference,
)
from deepseek_workloads.data.prepare.plan import GlobalStep, RecordPass, Step
from deepseek_workloads.data.prepare.records import (
    CentroidsRecord,
    ClusteredRecord,
    DropRecord,
    FrequenciesRecord,
    ModelRecord,
    NgramModelRecord,
    NgramsRecord,
    PairsRecord,
    PassRecord,
    RepeatsRecord,
    ServedModelsRecord,
    SignaturesRecord,
    TotalsRecord,
    VectorsRecord,
    WindowsRecord,
)
from deepseek_workloads.data.prepare.reports import add_reports, global_report
from deepseek_workloads.data.prepare.semantic_pairs import pairs_of_clusters, plan_cluster_ranges
from deepseek_workloads.data.prepare.semantic_vectors import cluster_part, embed_part, find_centroids
from deepseek_workloads.data.prepare.substring_cut import cut_part
from deepseek_workloads.data.prepare.substring_repeats import plan_window_ranges, repeats_of_range
from deepseek_workloads.data.prepare.substring_windows import window_part
from deepseek_workloads.data.prepare.tfidf_stage import drop_noise


def read_evaluation_sets(stages: Stages, steps: Sequence[Step]) -> list[str]:
    """Before any other work, since they may turn out to be unusable, and so may services. Returns
    evaluation_sets.line_of each. Raises DatasetError."""
    lines: list[str] = []
    for step in steps:
        if isinstance(step, RecordPass):
            continue
        match step.stage.settings:
            case Decontaminate() as settings:
                lines += _ngrams(stages, step, settings).sets
            case BackTranslate() as settings:
                _served(stages, step, settings)
            case (DeduplicateSemantic() | FilterPerplexity()) as settings if settings.model is not None:
                lines += _tried(stages, step, settings).sets
            case FilterPerplexity() as settings:
                lines += _model(stages, step, settings).sets
    return lines


def run_steps(stages: Stages, steps: Sequence[Step], corpus: Corpus) -> Corpus:
    for step in steps:
        if isinstance(step, RecordPass):
            corpus = _pass(stages, step, corpus)
        elif isinstance(step.stage.settings, DeduplicateSubstrings):
            corpus = _cut(stages, step, corpus, step.stage.settings)
        elif isinstance(step.stage.settings, ScoreDifficulty):
            corpus = _score(stages, step, corpus)
        elif isinstance(step.stage.settings, ReorderClauses):
            task = partial(reorder_part, stages.context, step.name, step.stage.settings, corpus.dropped)
            corpus = _rewritten(corpus, stages.run(step.name, task, corpus.records, PassRecord))
        elif isinstance(step.stage.settings, BackTranslate):
            corpus = _back_translate(stages, step, corpus, step.stage.settings)
        else:
            corpus = _all(stages, step, corpus)
    return corpus


def _pass(stages: Stages, step: RecordPass, corpus: Corpus) -> Corpus:
    task = partial(pass_part, stages.context, step, corpus.dropped)
    return _rewritten(corpus, stages.run(step.name, task, corpus.records, PassRecord))


def _cut(stages: Stages, step: GlobalStep, corpus: Corpus, settings: DeduplicateSubstrings) -> Corpus:
    windows, repeats, name = step.substeps
    context = stages.context
    hashing = partial(window_part, context, windows, settings, corpus.dropped)
    hashed = stages.run(windows, hashing, corpus.records, WindowsRecord)
    finding = partial(repeats_of_range, context, repeats, hashed)
    found = stages.run(repeats, finding, plan_window_ranges(hashed), RepeatsRecord)
    task = partial(cut_part, context, name, settings, found, corpus.dropped)
    return _rewritten(corpus, stages.run(name, task, corpus.records, PassRecord))


def _rewritten(corpus: Corpus, records: Sequence[PassRecord]) -> Corpus:
    """All documents were written again, without those that were dropped before."""
    reports = [add_reports(of_stage) for of_stage in zip(*(each.reports for each in records), strict=True)]
    # Tasks get all records.
    slim = tuple(record.model_copy(update={"reports": [], "refused_examples": []}) for record in records)
    refused = (*corpus.refused_examples, *(each for record in records for each in record.refused_examples))
    return Corpus(slim, reports=(*corpus.reports, *reports), refused_examples=refused)


def _all(stages: Stages, step: GlobalStep, corpus: Corpus) -> Corpus:
    """Drops documents, of those that are left."""
    settings = step.stage.settings
    match settings:
        case DeduplicateExact():
            dropped = _exact(stages, step, corpus)
        case DeduplicateNear():
            dropped = _near(stages, step, corpus, settings)
        case DeduplicateSemantic():
            dropped = _semantic(stages, step, corpus, settings)
        case Decontaminate():
            dropped = _contaminated(stages, step, corpus, settings)
        case FilterPerplexity():
            dropped = _perplexing(stages, step, corpus, settings)
        case FilterTfIdf():
            dropped = _noise(stages, step, corpus, settings)
        case _:
            raise AssertionError(f"{type(settings).__name__} is no stage over all documents")
    report = global_report(step.stage, dropped, documents_in=corpus.documents)
    if isinstance(settings, Decontaminate):
        looked_for = _ngrams(stages, step, settings).items
        report = report.model_copy(update={"evaluation_items": looked_for})
    slim = (record.model_copy(update={"samples": []}) for record in dropped)
    return replace(corpus, dropped=(*corpus.dropped, *slim), reports=(*corpus.reports, report))


def _exact(stages: Stages, step: GlobalStep, corpus: Corpus) -> list[DropRecord]:
    task = partial(deduplicate_range, stages.context, step.name, corpus.records, corpus.dropped)
    return stages.run(step.name, task, plan_ranges(corpus.records), DropRecord)


def _near(stages: Stages, step: GlobalStep, corpus: Corpus, settings: DeduplicateNear) -> list[DropRecord]:
    signatures, pairs, name = step.substeps
    context = stages.context
    signed = stages.run(
        signatures,
        partial(sign_part, context, signatures, settings, corpus.dropped),
        corpus.records,
        SignaturesRecord,
    )
    bands = plan_bands(settings)
    found = stages.run(
        pairs,
        partial(find_pairs, context, pairs, settings, signed),
        list(range(bands.count)),
        PairsRecord,
    )
    task = partial(drop_near_duplicates, context, name, "nearDuplicate", corpus.records, found)
    return stages.run(name, task, [0], DropRecord)


def _semantic(
    stages: Stages, step: GlobalStep, corpus: Corpus, settings: DeduplicateSemantic
) -> list[DropRecord]:
    _tried(stages, step, settings)
    _, vectors, centroids, clusters, pairs, name = step.substeps
    context = stages.context
    embedding = partial(embed_part, context, vectors, settings, corpus.dropped)
    embedded = stages.run(vectors, embedding, corpus.records, VectorsRecord)
    [middle] = stages.run(
        centroids, partial(find_centroids, context, centroids, embedded), [0], CentroidsRecord
    )
    clustered = stages.run(
        clusters, partial(cluster_part, context, clusters, middle), embedded, ClusteredRecord
    )
    finding = partial(pairs_of_clusters, context, pairs, settings, clustered)
    found = stages.run(pairs, finding, plan_cluster_ranges(clustered), PairsRecord)
    task = partial(drop_near_duplicates, context, name, "semanticDuplicate", corpus.records, found)
    return stages.run(name, task, [0], DropRecord)


def _noise(stages: Stages, step: GlobalStep, corpus: Corpus, settings: FilterTfIdf) -> list[DropRecord]:
    totals, documents = _frequencies(stages, step, corpus)
    task = partial(drop_noise, stages.context, step.name, settings, totals, documents, corpus.dropped)
    return stages.run(step.name, task, corpus.records, DropRecord)


def _perplexing(
    stages: Stages, step: GlobalStep, corpus: Corpus, settings: FilterPerplexity
) -> list[DropRecord]:
    context, name = stages.context, step.name
    if settings.model is not None:
        _tried(stages, step, settings)
        task = partial(drop_unpredicted, context, name, settings, corpus.dropped)
    else:
        model = _model(stages, step, settings)
        task = partial(drop_perplexing, context, name, settings, model, corpus.dropped)
    return stages.run(name, task, corpus.records, DropRecord)


def _tried(stages: Stages, step: GlobalStep, settings: DeduplicateSemantic | FilterPerplexity) -> ModelRecord:
    name = step.substeps[0]
    [tried] = stages.run(name, partial(check_model, stages.context, name, settings), [0], ModelRecord)
    return tried


def _model(stages: Stages, step: GlobalStep, settings: FilterPerplexity) -> NgramModelRecord:
    name, _ = step.substeps
    task = partial(model_reference, stages.context, name, settings)
    [model] = stages.run(name, task, [0], NgramModelRecord)
    return model


def _score(stages: Stages, step: GlobalStep, corpus: Corpus) -> Corpus:
    totals, documents = _frequencies(stages, step, corpus)
    task = partial(score_part, stages.context, step.name, totals, documents, corpus.dropped)
    return _rewritten(corpus, stages.run(step.name, task, corpus.records, PassRecord))


def _back_translate(stages: Stages, step: GlobalStep, corpus: Corpus, settings: BackTranslate) -> Corpus:
    _served(stages, step, settings)
    task = partial(back_translate_part, stages.context, step.name, settings, corpus.dropped)
    return _rewritten(corpus, stages.run(step.name, task, corpus.records, PassRecord))


def _served(stages: Stages, step: GlobalStep, settings: BackTranslate) -> None:
    name, _ = step.substeps
    stages.run(name, partial(check_service, stages.context, name, settings), [0], ServedModelsRecord)


def _frequencies(stages: Stages, step: GlobalStep, corpus: Corpus) -> tuple[list[TotalsRecord], int]:
    """In how many documents each word is, and of how many."""
    counts, totals, _ = step.substeps
    counting = partial(count_part, stages.context, counts, corpus.dropped)
    counted = stages.run(counts, counting, corpus.records, FrequenciesRecord)
    summing = partial(total_range, stages.context, totals, counted)
    summed = stages.run(totals, summing, plan_totals(len(counted)), TotalsRecord)
    return summed, sum(record.documents for record in counted)


def _contaminated(
    stages: Stages, step: GlobalStep, corpus: Corpus, settings: Decontaminate
) -> list[DropRecord]:
    _, name = step.substeps
    context = stages.context
    collected = _ngrams(stages, step, settings)
    task = partial(contaminated_part, context, name, settings, collected, corpus.dropped)
    return stages.run(name, task, corpus.records, DropRecord)


def _ngrams(stages: Stages, step: GlobalStep, settings: Decontaminate) -> NgramsRecord:
    ngrams, _ = step.substeps
    task = partial(collect_ngrams, stages.context, ngrams, settings)
    [collected] = stages.run(ngrams, task, [0], NgramsRecord)
    return collected
