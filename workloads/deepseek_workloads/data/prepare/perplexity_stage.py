"""The stage filterPerplexity: documents that are too unlike a reference, or too like it, are dropped.

First a model is made of the reference, as one task and before any other work, or the one that the stage names
is tried; then each part is held against it.
"""

from collections.abc import Sequence

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.pipeline import FilterPerplexity
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.contamination import evaluation_texts
from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.evaluation_content import read_evaluation_set
from deepseek_workloads.data.prepare.judging import Judge, drop_judged
from deepseek_workloads.data.prepare.named_models import open_scorer
from deepseek_workloads.data.prepare.ngram_model import pack, train_ngram_model, unpack
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, NgramModelRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import Dropped
from deepseek_workloads.data.prepare.text_models import TextScorer

MAX_REFERENCE_CHARACTERS = 16 * 1024 * 1024  # some 3 GiB of memory while the model is made
REASON = "perplexity"


def model_reference(context: Context, stage: str, settings: FilterPerplexity, _task: int) -> NgramModelRecord:
    """Raises DatasetError where the reference has no text, or too much."""
    texts: list[str] = []
    sets = []
    for uri in settings.uris:
        content, line = read_evaluation_set(context, uri)
        sets.append(line)
        texts += evaluation_texts(content, name=uri, fields=settings.text_fields)
    characters = sum(map(len, texts))
    if not 0 < characters <= MAX_REFERENCE_CHARACTERS or not "".join(texts).strip():
        raise DatasetError(
            f"filterPerplexity.uris: {settings.uris}: {characters} characters: give a reference of 1 to "
            f"{MAX_REFERENCE_CHARACTERS}, such as a sample",
            reasons.INVALID_RUN_CONFIG,
        )
    with context.output() as store:
        content = pack(train_ngram_model(texts, order=settings.order))
        file = put_file(store, context.key(f"duplicates/{stage}/00000"), content)
        return put_record(store, context, stage, NgramModelRecord(number=0, model=file, sets=sets))


def drop_perplexing(
    context: Context,
    stage: str,
    settings: FilterPerplexity,
    model: NgramModelRecord,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> DropRecord:
    with context.output() as store:
        judge = _judge(unpack(read_file(store, model.model)), settings)
        return drop_judged(context, store, judge, stage=stage, documents=documents, dropped=dropped)


def drop_unpredicted(
    context: Context,
    stage: str,
    settings: FilterPerplexity,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> DropRecord:
    """By the model that the stage names."""
    assert settings.model is not None
    judge = _judge(open_scorer(context, settings.model.uri), settings)
    with context.output() as store:
        return drop_judged(context, store, judge, stage=stage, documents=documents, dropped=dropped)


def _judge(model: TextScorer, settings: FilterPerplexity) -> Judge:
    def judge(text: str) -> Dropped | None:
        found = model.perplexity(text)
        if settings.min_perplexity <= found <= settings.max_perplexity:
            return None
        return Dropped(REASON, f"{found:.4g}")

    return judge
