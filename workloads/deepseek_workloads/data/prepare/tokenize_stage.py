"""The stage `tokenize`: the kept documents of one part -> token shards of both splits, counted."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import Shard, SplitStatistics
from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.deduplicate_stage import dropped_documents
from deepseek_workloads.data.prepare.documents import INDEX_DTYPE, is_held_out, iter_texts, language_counts
from deepseek_workloads.data.prepare.encoding import encode_documents
from deepseek_workloads.data.prepare.records import (
    DeduplicateRecord,
    ReadRecord,
    TokenizeRecord,
    TokenizerRecord,
)
from deepseek_workloads.data.prepare.shards import ShardWriter, token_dtype
from deepseek_workloads.data.prepare.stage import TOKENIZE, put_record
from deepseek_workloads.data.prepare.tokenizer import load_tokenizer
from deepseek_workloads.store.interface import ObjectStore

Mask = npt.NDArray[np.bool_]


def tokenize_part(
    context: Context,
    duplicates: Sequence[DeduplicateRecord],
    tokenizer: TokenizerRecord,
    read: ReadRecord,
) -> TokenizeRecord:
    with context.output() as store:
        index = np.frombuffer(read_file(store, read.index), dtype=INDEX_DTYPE)
        texts = read_file(store, read.texts)
        kept = np.ones(len(index), dtype=bool)
        kept[dropped_documents(store, duplicates, part=read.number)] = False
        held_out = is_held_out(index["low"], fraction=context.run.held_out_fraction)
        splits = {"train": kept & ~held_out, "held-out": kept & held_out}
        writers = {name: _writer(context, store, tokenizer, read, name) for name in splits}
        encoder = load_tokenizer(store.read(tokenizer.key), name=tokenizer.key)
        for name, wanted in splits.items():
            documents = (text for _, text in iter_texts(texts, index, wanted=wanted))
            for ids in encode_documents(encoder, documents, eos_token_id=tokenizer.eos_token_id):
                writers[name].add(ids)
            writers[name].close()
        counts = np.stack([writers[name].counts for name in splits]).astype("<u8")
        record = TokenizeRecord(
            number=read.number,
            train=writers["train"].shards,
            held_out=writers["held-out"].shards,
            train_statistics=_statistics(writers["train"].shards, index, splits["train"]),
            held_out_statistics=_statistics(writers["held-out"].shards, index, splits["held-out"]),
            counts=put_file(store, context.key(f"counts/{read.number:05d}"), counts.tobytes()),
            dropped=int((~kept).sum()),
            languages=language_counts(index, read.languages, kept=kept),
        )
        return put_record(store, context, TOKENIZE, record)


def sum_counts(
    store: ObjectStore, records: Sequence[TokenizeRecord], *, vocab_size: int
) -> npt.NDArray[np.uint64]:
    """uint64 [2, vocab_size]: occurrences of each token in the train and in the held-out split."""
    total = np.zeros((2, vocab_size), dtype=np.uint64)
    for record in records:
        total += np.frombuffer(read_file(store, record.counts), dtype="<u8").reshape(2, vocab_size)
    return total


def _writer(
    context: Context, store: ObjectStore, tokenizer: TokenizerRecord, read: ReadRecord, split: str
) -> ShardWriter:
    return ShardWriter(
        store,
        prefix=context.key(f"{split}/{read.number:05d}"),
        dtype=token_dtype(tokenizer.vocab_size),
        shard_tokens=context.run.shard_tokens,
        vocab_size=tokenizer.vocab_size,
    )


def _statistics(shards: Sequence[Shard], index: npt.NDArray[np.void], split: Mask) -> SplitStatistics:
    return SplitStatistics(
        documents=int(split.sum()),
        tokens=sum(shard.tokens for shard in shards),
        bytes=int(index["size"][split].sum()),
    )
