"""The stage `tokenizer`: one task that trains on a bounded, deterministic sample, or takes what is given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import DATASET_MANIFEST
from deepseek_workloads.contract.run_config import Storage, TokenizerTraining
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.prepare.context import Context, read_file
from deepseek_workloads.data.prepare.documents import INDEX_DTYPE, is_held_out, iter_texts
from deepseek_workloads.data.prepare.dropped import dropped_documents
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, TokenizerRecord
from deepseek_workloads.data.prepare.stage import TOKENIZER, put_record
from deepseek_workloads.data.prepare.tokenizer import (
    image_token_id,
    load_tokenizer,
    special_tokens,
    to_document,
    train_tokenizer,
    vocab_size,
)
from deepseek_workloads.store.interface import ObjectStore

SAMPLE_BYTES_A_TOKEN = 4096  # of text that a tokenizer is trained on, for each entry of its vocabulary
MIN_SAMPLE_BYTES = 32 * 1024 * 1024
READ_FACTOR = 4  # at most so many times the sample is read to find it, from parts evenly spread


@dataclass(frozen=True)
class Sampling:
    """Which documents a tokenizer is trained on: of these parts, those whose hash is in the fraction."""

    parts: tuple[int, ...]
    fraction: float


def make_tokenizer(
    context: Context,
    records: Sequence[DocumentsRecord],
    duplicates: Sequence[DropRecord],
    _task: int,
) -> TokenizerRecord:
    with context.output() as store:
        if context.run.tokenizer is None:
            document = read_given(context)
        else:
            document = _train(context, store, context.run.tokenizer, records, duplicates)
        key = context.key("tokenizer.json")
        tokenizer = load_tokenizer(document, name=key)
        special = special_tokens(tokenizer, name=context.run.tokenizer_uri or key)
        store.put(key, document)
        record = TokenizerRecord(
            number=0,
            key=key,
            digest=sha256_digest(document),
            vocab_size=vocab_size(tokenizer),
            bos_token_id=special.bos,
            eos_token_id=special.eos,
            pad_token_id=special.pad,
            image_token_id=image_token_id(tokenizer, context.run.image_settings.image_token, name=key)
            if context.run.with_images
            else None,
        )
        return put_record(store, context, TOKENIZER, record)


def read_given(context: Context) -> bytes:
    """The tokenizer.json that the run names, or that of the dataset whose manifest.json it names. Raises
    DatasetError and the StoreErrors of reading it."""
    folder, _, name = (context.run.tokenizer_uri or "").rpartition("/")
    storage: Storage = context.run.raw_storage.model_copy(update={"uri": folder})
    with context.open(storage) as store:
        if name != DATASET_MANIFEST:
            return store.read(name)
        manifest = load_manifest(store, None)
        document = store.read(manifest.tokenizer_key)
        if sha256_digest(document) != manifest.tokenizer_digest:
            raise DatasetError(
                f"{store.uri}/{manifest.tokenizer_key}: digest {sha256_digest(document)}: must be "
                f"{manifest.tokenizer_digest}: restore the tokenizer of that dataset, or name another"
            )
        return document


def plan_sampling(records: Sequence[DocumentsRecord], *, vocab_size: int) -> Sampling:
    """Evenly spread parts, and of them the fraction that makes the sample: a bounded work in any dataset."""
    wanted = max(MIN_SAMPLE_BYTES, vocab_size * SAMPLE_BYTES_A_TOKEN)
    total = sum(record.text_bytes for record in records)
    stride = max(1, total // (READ_FACTOR * wanted))
    chosen = records[::stride]
    size = sum(record.text_bytes for record in chosen)
    return Sampling(tuple(record.number for record in chosen), min(1.0, wanted / max(1, size)))


def _train(
    context: Context,
    store: ObjectStore,
    settings: TokenizerTraining,
    records: Sequence[DocumentsRecord],
    duplicates: Sequence[DropRecord],
) -> bytes:
    sampling = plan_sampling(records, vocab_size=settings.vocab_size)
    texts = _sample(context, store, sampling, records, duplicates)
    tokenizer: Tokenizer = train_tokenizer(texts, settings=settings, normalization=context.run.normalization)
    return to_document(tokenizer)


def _sample(
    context: Context,
    store: ObjectStore,
    sampling: Sampling,
    records: Sequence[DocumentsRecord],
    duplicates: Sequence[DropRecord],
) -> Iterator[str]:
    """Training documents only: a tokenizer that has seen the held-out text would flatter the evaluation."""
    for number in sampling.parts:
        index = np.frombuffer(read_file(store, records[number].index), dtype=INDEX_DTYPE)
        wanted = ~is_held_out(index["split"], fraction=context.run.held_out_fraction)
        wanted[dropped_documents(store, duplicates, part=number)] = False
        if sampling.fraction < 1:
            wanted &= index["high"] < np.uint64(int(sampling.fraction * 2.0**64))
        texts = read_file(store, records[number].texts)
        for _, text in iter_texts(texts, index, wanted=wanted):
            yield text
