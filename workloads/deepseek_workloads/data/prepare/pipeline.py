"""The stages of a preparation in order, and its verdict. It does not know where the parts run."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.contract.messages import Progress, Verdict
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.manifest import DatasetError, PinnedManifest
from deepseek_workloads.data.prepare import publish
from deepseek_workloads.data.prepare.context import Context, OpenStore
from deepseek_workloads.data.prepare.corpus import read_evaluation_sets, run_steps
from deepseek_workloads.data.prepare.corpus_state import Corpus, Stages
from deepseek_workloads.data.prepare.evaluation_sets import (
    check_unchanged,
    evaluation_fingerprint,
    model_fingerprint,
)
from deepseek_workloads.data.prepare.executor import Executor
from deepseek_workloads.data.prepare.lexicons import check_lexicons
from deepseek_workloads.data.prepare.model_service import ModelServiceAway
from deepseek_workloads.data.prepare.plan import plan_steps, stages_of
from deepseek_workloads.data.prepare.progress import StageReporter
from deepseek_workloads.data.prepare.raw import fingerprint, list_raw, plan_parts, put_raw_objects
from deepseek_workloads.data.prepare.read_stage import read_part
from deepseek_workloads.data.prepare.records import RawSlice, ReadRecord, TokenizeRecord, TokenizerRecord
from deepseek_workloads.data.prepare.rendering import check_templates
from deepseek_workloads.data.prepare.report import put_report
from deepseek_workloads.data.prepare.settings import attempt_id, settings_digest
from deepseek_workloads.data.prepare.stage import READ, TOKENIZE, TOKENIZER, OnDone
from deepseek_workloads.data.prepare.stage_checks import check_stages
from deepseek_workloads.data.prepare.text_models import NO_TEXT_MODELS, TextModels
from deepseek_workloads.data.prepare.tokenize_stage import sum_counts, tokenize_part
from deepseek_workloads.data.prepare.tokenizer import (
    check_training,
    image_token_id,
    load_tokenizer,
    special_tokens,
)
from deepseek_workloads.data.prepare.tokenizer_stage import make_tokenizer, read_given
from deepseek_workloads.data.prepare.verdicts import failed, succeeded, try_again
from deepseek_workloads.store.interface import NotFound, ObjectChanged, ObjectStore, StoreError

_log = logging.getLogger(__name__)


def prepare(
    run: DatasetRun,
    *,
    open_store: OpenStore,
    executor: Executor,
    report: Callable[[Progress], None],
    text_models: TextModels = NO_TEXT_MODELS,
) -> Verdict:
    """Prepares the dataset, or finds it published already.

    `report` is called in this process after every part; `text_models` goes to the tasks. Bad input and a
    refused store become a verdict; an unreachable store, or model service, becomes one that says Retry, and
    the next run goes on where this one ended. What an executor raises of its own (a lost cluster) passes
    through.
    """
    context = Context(run=run, attempt="", open_store=open_store, text_models=text_models)
    try:
        return succeeded(run, _publish(context, executor, StageReporter(run, report)))
    except DatasetError as error:
        return failed(error.reason, str(error))
    except ObjectChanged as error:
        return try_again(error.reason, str(error))
    except ModelServiceAway as error:
        return try_again(reasons.MODEL_SERVICE_UNREACHABLE, str(error))
    except StoreError as error:
        return try_again(error.reason, str(error)) if error.transient else failed(error.reason, str(error))


def _publish(context: Context, executor: Executor, reporter: StageReporter) -> PinnedManifest:
    run = context.run
    check_templates(run)
    check_stages(run)
    check_lexicons(context)
    slices = list_raw(context)
    evaluation_sets = [*evaluation_fingerprint(context, run), *model_fingerprint(context, run)]
    identity = publish.Identity(
        raw_fingerprint=fingerprint(run, slices, evaluation_sets=evaluation_sets),
        settings_digest=settings_digest(run, tokenizer_digest=_check_tokenizer(context)),
        owner_uid=run.owner.uid,
    )
    context = replace(context, attempt=attempt_id(identity, run), inputs=tuple(evaluation_sets))
    with context.output() as store:
        found = publish.find_published(store, identity)
        if found is not None:
            _log.info("the dataset is published already: %s", found.digest)
            remove_intermediate(context, store)
            return found
        try:
            return _run_stages(
                context,
                slices,
                identity,
                evaluation_sets=evaluation_sets,
                executor=executor,
                on_done=reporter.on_done,
            )
        except NotFound:
            # Another process that prepared the same (we were taken for dead) has published and cleared up.
            found = publish.find_published(store, identity)
            if found is None:
                raise
            return found


def _run_stages(
    context: Context,
    slices: Sequence[RawSlice],
    identity: publish.Identity,
    *,
    evaluation_sets: Sequence[str],
    executor: Executor,
    on_done: OnDone,
) -> PinnedManifest:
    stages, steps = Stages(context, executor, on_done), plan_steps(stages_of(context.run))
    check_unchanged(read_evaluation_sets(stages, steps), evaluation_sets)
    parts = plan_parts(context.run, slices)
    read = stages.run(READ, partial(read_part, context), parts, ReadRecord)
    _check_bad_records(context, read)
    corpus = run_steps(stages, steps, Corpus(tuple(read)))
    _check_anything_left(corpus)
    _check_untreated(context, read, corpus)
    make = partial(make_tokenizer, context, corpus.records, corpus.dropped)
    [tokenizer] = stages.run(TOKENIZER, make, [0], TokenizerRecord)
    tokenize = partial(tokenize_part, context, corpus.dropped, tokenizer)
    tokenized = stages.run(TOKENIZE, tokenize, corpus.records, TokenizeRecord)
    _check_refused(context, read, tokenized)
    _check_train_split(context, tokenized)
    with context.output() as store:
        manifest = publish.build_manifest(
            identity,
            context.run,
            read=read,
            tokenizer=tokenizer,
            tokenized=tokenized,
            counts=sum_counts(store, tokenized, vocab_size=tokenizer.vocab_size),
            reports=corpus.reports,
            report=put_report(context, store, read=read, reports=corpus.reports, tokenized=tokenized),
            raw_objects=put_raw_objects(context, store, slices),
        )
        published = publish.publish(store, manifest)
        remove_intermediate(context, store)
    return published


def _check_tokenizer(context: Context) -> str | None:
    """Before any work: the digest of a tokenizer that was given. Raises DatasetError, and StoreErrors."""
    if context.run.tokenizer is not None:
        check_training(context.run.tokenizer)
        return None
    name = context.run.tokenizer_uri or ""
    if not name:
        raise DatasetError(
            "spec.tokenizer: neither settings to train one nor the URI of a tokenizer.json: give one of them",
            reasons.INVALID_RUN_CONFIG,
        )
    document = read_given(context)
    tokenizer = load_tokenizer(document, name=name)
    special_tokens(tokenizer, name=name)
    if context.run.with_images:
        image_token_id(tokenizer, context.run.image_settings.image_token, name=name)
    return sha256_digest(document)


def _check_bad_records(context: Context, read: Sequence[ReadRecord]) -> None:
    bad = sum(record.bad_records for record in read)
    allowed = _allowed(context, read)
    if bad > allowed:
        examples = "; ".join([example for record in read for example in record.bad_examples][:3])
        raise DatasetError(
            f"spec.maxBadRecords: {bad} records cannot be read and {allowed} may: "
            f"{examples}. All are at {_quarantine(context)}: correct the raw objects, exclude them or raise "
            "the limit",
            reasons.TOO_MANY_BAD_RECORDS,
        )
    if not any(record.documents for record in read):
        raise DatasetError(
            f"{sum(record.empty for record in read)} documents were read and none has any text: check the "
            "raw sources, their format and textField",
            reasons.EMPTY_DATASET,
        )


def _allowed(context: Context, read: Sequence[ReadRecord]) -> int:
    records = sum(record.documents + record.empty + record.bad_records for record in read)
    return context.run.bad_records_allowed(of=records)


def _check_anything_left(corpus: Corpus) -> None:
    if corpus.documents == 0:
        worst = max(corpus.reports, key=lambda report: report.documents_in - report.documents_out)
        raise DatasetError(
            f"spec.pipeline: its stages dropped every document, stage {worst.name!r} most of them: "
            f"{worst.dropped}. Loosen its settings or leave it out",
            reasons.EMPTY_DATASET,
        )


def _check_refused(context: Context, read: Sequence[ReadRecord], tokenized: Sequence[TokenizeRecord]) -> None:
    """Conversations that the template or the tokenizer cannot take are bad records too."""
    refused = sum(record.refused for record in tokenized)
    bad = sum(record.bad_records for record in read) + refused
    allowed = _allowed(context, read)
    if refused and bad > allowed:
        examples = "; ".join([example for record in tokenized for example in record.refused_examples][:3])
        raise DatasetError(
            f"spec.maxBadRecords: {bad} records cannot be used and {allowed} may: "
            f"{examples}. They are at {_quarantine(context)}refused-*.jsonl: correct the conversations or "
            "the chat template, or raise the limit",
            reasons.TOO_MANY_BAD_RECORDS,
        )


def _check_untreated(context: Context, read: Sequence[ReadRecord], corpus: Corpus) -> None:
    """Documents that a stage could not treat are bad records, though they stay as they were."""
    refused = {report.name: report.refused for report in corpus.reports if report.refused}
    bad = sum(record.bad_records for record in read) + sum(refused.values())
    allowed = _allowed(context, read)
    if refused and bad > allowed:
        raise DatasetError(
            f"spec.maxBadRecords: {bad} records cannot be used and {allowed} may; by stage {refused}: "
            f"{'; '.join(corpus.refused_examples[:3])}. They are at {_quarantine(context)}: truncate or "
            "filter such records before that stage, or raise the limit",
            reasons.TOO_MANY_BAD_RECORDS,
        )


def _quarantine(context: Context) -> str:
    return join_uri(context.run.storage.uri, f"quarantine/{context.attempt}/")


def _check_train_split(context: Context, tokenized: Sequence[TokenizeRecord]) -> None:
    if not any(record.train for record in tokenized):
        raise DatasetError(
            f"spec.heldOutFraction: {context.run.held_out_fraction}: it took every document: use more "
            "documents or a smaller fraction",
            reasons.EMPTY_DATASET,
        )


def remove_intermediate(context: Context, store: ObjectStore) -> None:
    """What only the stages needed: about as large as the raw text. The records go first, so that no record
    names what is gone."""
    for name in ("stages/", "documents/", "duplicates/", "counts/"):
        store.delete([info.key for info in store.list(context.key(name))])
