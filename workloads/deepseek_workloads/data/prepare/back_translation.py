"""The stage backTranslate: copies of documents, translated into another language and back by a served model.

Of each part some requests at once. Before any work the service is asked whether it has the models. A text
that it refuses, or does not end, gets no copy and goes to the quarantine; its original stays. An answer may
differ between two tries, also at temperature 0: files are named by their content, so that two processes that
do the same part do no harm.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.augmentation import LANGUAGE_PLACE, BackTranslate
from deepseek_workloads.contract.environment import OPENAI_API_KEY
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter, content_hash
from deepseek_workloads.data.prepare.model_service import ModelService, RequestRefused
from deepseek_workloads.data.prepare.part_files import iter_documents, put_documents
from deepseek_workloads.data.prepare.pass_stage import report_of
from deepseek_workloads.data.prepare.records import (
    DocumentsRecord,
    DropRecord,
    PassRecord,
    ServedModelsRecord,
)
from deepseek_workloads.data.prepare.refused import EXAMPLES, QUARANTINED_RECORDS, Refused
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import StageCounts

AWAITED_A_REQUEST = (
    4  # documents whose answers may wait for that of an earlier one, for each request at a time
)


def check_service(context: Context, stage: str, settings: BackTranslate, _task: int) -> ServedModelsRecord:
    """Raises DatasetError where a model is not served, and ModelServiceAway."""
    service = _service(settings)
    try:
        served = service.models()
    finally:
        service.close()
    for field, model in (("model", settings.model), ("backModel", settings.back_model)):
        if model is not None and model not in served:
            raise DatasetError(
                f"backTranslate.{field}: {model!r} is not served at {settings.base_url}, which has "
                f"{', '.join(map(repr, served[:8])) or 'none'}: name one of these",
                reasons.INVALID_RUN_CONFIG,
            )
    with context.output() as store:
        return put_record(store, context, stage, ServedModelsRecord(number=0, models=served[:8]))


def back_translate_part(
    context: Context,
    stage: str,
    settings: BackTranslate,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> PassRecord:
    """Raises DatasetError and ModelServiceAway."""
    counts, writer, refused = StageCounts(), DocumentWriter(), _Quarantine()
    service = _service(settings)
    try:
        with context.output() as store:
            read = (document for _, document in iter_documents(store, documents, dropped))
            for document, outcome in _translated(service, settings, read):
                if isinstance(outcome, Refused):
                    refused.add(outcome)
                kept = [document, outcome] if isinstance(outcome, Document) else [document]
                for each in counts.take(document, kept):
                    writer.add(each)
            high, low = content_hash(writer.texts)
            name = f"{stage}/{high:016x}{low:016x}"
            written = put_documents(context, store, writer, name=name, number=documents.number)
            if refused.kept:
                key = context.quarantine_key(documents.number, f"stage_{stage}")
                store.put(key, b"".join(each.to_json() for each in refused.kept))
            report = report_of(stage, counts, sampled=False).model_copy(update={"refused": refused.count})
            record = PassRecord(
                **dict(written),
                reports=[report],
                refused_examples=[each.reason for each in refused.kept[:EXAMPLES]],
            )
            return put_record(store, context, stage, record)
    finally:
        service.close()


class _Quarantine:
    """All are counted, some kept."""

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[Refused] = []

    def add(self, refused: Refused) -> None:
        self.count += 1
        if len(self.kept) < QUARANTINED_RECORDS:
            self.kept.append(refused)


def _service(settings: BackTranslate) -> ModelService:
    return ModelService(
        settings.base_url,
        key=os.environ.get(OPENAI_API_KEY) or None,
        timeout_seconds=settings.timeout_seconds,
        connections=settings.concurrency,
    )


def _translated(
    service: ModelService, settings: BackTranslate, documents: Iterator[Document]
) -> Iterator[tuple[Document, Document | Refused | None]]:
    """Each document in its order, with its copy, or why there is none, or None: none was wanted."""
    with ThreadPoolExecutor(settings.concurrency, thread_name_prefix="translate") as pool:
        ask = partial(translate_there_and_back, service, settings)
        while group := _group(documents, settings.concurrency * AWAITED_A_REQUEST):
            futures = [pool.submit(ask, each) if is_chosen(each, settings) else None for each in group]
            try:
                for document, future in zip(group, futures, strict=True):
                    yield document, None if future is None else future.result()
            finally:
                for future in futures:
                    if future is not None:
                        future.cancel()


def _group(documents: Iterator[Document], size: int) -> list[Document]:
    return [document for _, document in zip(range(size), documents, strict=False)]


def is_chosen(document: Document, settings: BackTranslate) -> bool:
    """By the seed and the document alone: no copy of a copy, none of what is too long."""
    if document.made_from is not None or len(document.text) > settings.max_characters:
        return False
    high, _ = content_hash(f"{settings.seed} {document.text}".encode())
    return high < settings.share * 2.0**64


def translate_there_and_back(
    service: ModelService, settings: BackTranslate, document: Document
) -> Document | Refused | None:
    """The copy; None where it is the original again. Raises DatasetError and ModelServiceAway."""
    ways = (
        (settings.model, settings.pivot_language),
        (settings.back_model or settings.model, settings.language),
    )
    text = document.text
    for model, language in ways:
        try:
            answer = service.chat(
                prompted(settings.prompt, text, language=language),
                model=model,
                max_tokens=settings.max_tokens,
                seed=settings.seed,
            )
        except RequestRefused as error:
            return Refused(document.text, f"into {language}: {error}", said=error.said)
        text = answer.text.strip()
        if answer.finish_reason == "length":
            return Refused(document.text, f"into {language}: more than {settings.max_tokens} tokens")
        if not text:
            return Refused(document.text, f"into {language}: an empty answer")
    if text == document.text.strip():
        return None
    return replace(document, text=text, made_from=content_hash(document.text.encode())[1], difficulty=None)


def prompted(prompt: str, text: str, *, language: str) -> str:
    """The text alone where there is no prompt."""
    return f"{prompt.replace(LANGUAGE_PLACE, language)}\n\n{text}" if prompt else text
