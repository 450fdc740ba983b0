"""The stage reorderClauses: copies of documents in which clauses of sentences changed places.

Which sentences change is a function of the text, the model, the seed and the number of the copy.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deepseek_workloads.contract.augmentation import ReorderClauses
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter, content_hash
from deepseek_workloads.data.prepare.parsing import CannotParse, Parser, load_parser
from deepseek_workloads.data.prepare.part_files import iter_documents, put_documents
from deepseek_workloads.data.prepare.pass_stage import report_of
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, PassRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.clauses import reordered
from deepseek_workloads.data.prepare.stages.contract import StageCounts

Replacement = tuple[int, int, str]  # characters of the text, and what comes in their place


def reorder_part(
    context: Context,
    stage: str,
    settings: ReorderClauses,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> PassRecord:
    parser = open_parser(context, settings)
    counts, writer = StageCounts(), DocumentWriter()
    with context.output() as store:
        for _, document in iter_documents(store, documents, dropped):
            for each in counts.take(document, with_copies(parser, settings, document)):
                writer.add(each)
        written = put_documents(context, store, writer, name=stage, number=documents.number)
        report = report_of(stage, counts, sampled=False)
        return put_record(store, context, stage, PassRecord(**dict(written), reports=[report]))


def open_parser(context: Context, settings: ReorderClauses) -> Parser:
    """Raises DatasetError, and StoreErrors."""
    folder, _, name = settings.model.uri.rpartition("/")
    with context.open(context.run.raw_storage.model_copy(update={"uri": folder})) as store:
        return load_parser(store, name)


def with_copies(parser: Parser, settings: ReorderClauses, document: Document) -> list[Document]:
    """Copies are made of originals, in the languages that the model is for; equal ones once."""
    other_language = bool(settings.languages) and document.language not in settings.languages
    if document.made_from is not None or other_language:
        return [document]
    try:
        replacements = _replacements(parser, document)
    except CannotParse:  # it stays, as a document without such clauses does
        return [document]
    high, low = content_hash(document.text.encode())
    texts = []
    for number in range(settings.copies):
        chance = np.random.default_rng([high, low, settings.seed, number]).random(len(replacements))
        chosen = [each for each, at in zip(replacements, chance, strict=True) if at < settings.rate]
        texts.append(_replaced(document.text, chosen))
    copies = dict.fromkeys(texts)
    copies.pop(document.text, None)
    return [document, *(replace(document, text=text, made_from=low) for text in copies)]


def _replacements(parser: Parser, document: Document) -> list[Replacement]:
    found = []
    for words in parser.sentences(document.text):
        sentence = reordered(document.text, words, language=document.language)
        if sentence is not None:
            found.append((words[0].start, words[-1].end, sentence))
    return found


def _replaced(text: str, replacements: Sequence[Replacement]) -> str:
    """`replacements`: in order, none over another."""
    parts, at = [], 0
    for start, end, content in replacements:
        parts += [text[at:start], content]
        at = end
    return "".join([*parts, text[at:]])
