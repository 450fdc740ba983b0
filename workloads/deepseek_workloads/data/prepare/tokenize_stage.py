"""The stage `tokenize`: the kept documents of one part -> token shards of both splits, counted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import tee

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from deepseek_workloads.contract.records import SplitStatistics
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.chat import ConversationEncoder, ConversationRefused, from_document
from deepseek_workloads.data.chat_template import ChatTemplate, TemplateError, conversation_template
from deepseek_workloads.data.image_text import ImageText, ImageTextEncoder
from deepseek_workloads.data.images import PlacedImage
from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.documents import (
    INDEX_DTYPE,
    augmented,
    difficulty_counts,
    is_held_out,
    iter_texts,
    language_counts,
    length_counts,
)
from deepseek_workloads.data.prepare.dropped import dropped_documents
from deepseek_workloads.data.prepare.encoding import encode_documents
from deepseek_workloads.data.prepare.facts_column import facts_of, facts_wanted, put_facts
from deepseek_workloads.data.prepare.records import (
    DocumentsRecord,
    DropRecord,
    ReadRecord,
    TokenizeRecord,
    TokenizerRecord,
)
from deepseek_workloads.data.prepare.refused import EXAMPLES, QUARANTINED_RECORDS, Refused
from deepseek_workloads.data.prepare.shards import ShardWriter, token_dtype
from deepseek_workloads.data.prepare.stage import TOKENIZE, put_record
from deepseek_workloads.data.prepare.tokenizer import load_tokenizer
from deepseek_workloads.store.interface import ObjectStore

Mask = npt.NDArray[np.bool_]


def tokenize_part(
    context: Context,
    duplicates: Sequence[DropRecord],
    tokenizer: TokenizerRecord,
    read: DocumentsRecord,
) -> TokenizeRecord:
    with context.output() as store:
        index = np.frombuffer(read_file(store, read.index), dtype=INDEX_DTYPE)
        texts = read_file(store, read.texts)
        kept = np.ones(len(index), dtype=bool)
        kept[dropped_documents(store, duplicates, part=read.number)] = False
        held_out = is_held_out(index["split"], fraction=context.run.held_out_fraction)
        splits = {"train": kept & ~held_out, "held-out": kept & held_out}
        writers = {name: _writer(context, store, tokenizer, read, name) for name in splits}
        encoder = load_tokenizer(store.read(tokenizer.key), name=tokenizer.key)
        images = _images(store, read)
        encode = partial(_encode, context.run, encoder, tokenizer, images)
        totals = {
            name: _add_all(writers[name], encode(text for _, text in iter_texts(texts, index, wanted=wanted)))
            for name, wanted in splits.items()
        }
        if facts_wanted(context.run):
            for name, wanted in splits.items():
                facts = np.delete(facts_of(index, wanted=wanted), totals[name].refused_at)
                writers[name].shards = put_facts(store, writers[name].shards, facts)
        counts = np.stack([writers[name].counts for name in splits]).astype("<u8")
        quarantined = [each for total in totals.values() for each in total.quarantined]
        if quarantined:
            lines = b"".join(each.to_json() for each in quarantined)
            store.put(context.quarantine_key(read.number, "refused"), lines)
        record = TokenizeRecord(
            number=read.number,
            train=writers["train"].shards,
            held_out=writers["held-out"].shards,
            train_statistics=totals["train"].statistics,
            held_out_statistics=totals["held-out"].statistics,
            counts=put_file(store, context.key(f"counts/{read.number:05d}"), counts.tobytes()),
            dropped=int((~kept).sum()),
            refused=sum(total.refused for total in totals.values()),
            refused_examples=[each.reason for each in quarantined[:EXAMPLES]],
            languages=language_counts(index, read.languages, kept=kept),
            lengths=length_counts(index, kept=kept),
            difficulties=difficulty_counts(index, kept=kept),
            augmented=int((augmented(index) & kept).sum()),
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


@dataclass(frozen=True)
class _Encoded:
    """One document; without ids it was refused."""

    ids: npt.NDArray[np.uint32] | None
    text_bytes: int = 0
    predicted: Mask | None = None
    predicted_bytes: int = 0
    refused: Refused | None = None
    images: tuple[PlacedImage, ...] = ()


@dataclass(frozen=True)
class _Total:
    """Of one split."""

    statistics: SplitStatistics
    refused_at: list[int]  # of its documents, in order
    quarantined: list[Refused]

    @property
    def refused(self) -> int:
        return len(self.refused_at)


def _encode(
    run: DatasetRun,
    encoder: Tokenizer,
    tokenizer: TokenizerRecord,
    images: Mapping[str, bytes],
    texts: Iterator[str],
) -> Iterator[_Encoded]:
    if run.with_images:
        yield from _encode_image_texts(run, encoder, tokenizer, images, texts)
        return
    if run.conversations:
        yield from _encode_conversations(run, encoder, tokenizer, texts)
        return
    sized, kept = tee(texts)
    encoded = encode_documents(encoder, kept, eos_token_id=tokenizer.eos_token_id)
    for text, ids in zip(sized, encoded, strict=True):
        yield _Encoded(ids, len(text.encode()))


def _encode_conversations(
    run: DatasetRun, encoder: Tokenizer, tokenizer: TokenizerRecord, texts: Iterator[str]
) -> Iterator[_Encoded]:
    conversations = _conversation_encoder(run, encoder, tokenizer)
    for text in texts:
        try:
            done = conversations.encode(from_document(text))
        except (ConversationRefused, TemplateError) as error:
            yield _Encoded(None, refused=Refused(text, str(error)))
            continue
        yield _Encoded(done.ids, done.text_bytes, done.predicted, done.predicted_bytes)


def _encode_image_texts(
    run: DatasetRun,
    encoder: Tokenizer,
    tokenizer: TokenizerRecord,
    images: Mapping[str, bytes],
    texts: Iterator[str],
) -> Iterator[_Encoded]:
    image_texts = ImageTextEncoder(
        encoder,
        _conversation_encoder(run, encoder, tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        image_token=run.image_settings.image_token,
        patches=(run.image_settings.image_size // run.image_settings.patch_size) ** 2,
    )
    for text in texts:
        document = ImageText.from_document(text)
        try:
            found = image_texts.encode(document)
        except (ConversationRefused, TemplateError) as error:
            yield _Encoded(None, refused=Refused(text, str(error)))
            continue
        done = found.conversation
        placed = [
            PlacedImage(int(place), images[digest])
            for place, digest in zip(found.places, document.images, strict=True)
        ]
        yield _Encoded(done.ids, done.text_bytes, done.predicted, done.predicted_bytes, images=tuple(placed))


def _conversation_encoder(
    run: DatasetRun, encoder: Tokenizer, tokenizer: TokenizerRecord
) -> ConversationEncoder:
    encoder.encode_special_tokens = False  # templates write them; what messages say never holds one
    template = ChatTemplate(
        conversation_template(run.chat_template), special_tokens=_special_tokens(encoder, tokenizer)
    )
    allowed = [run.image_settings.image_token] if run.with_images else []
    return ConversationEncoder(encoder, template, eos_token_id=tokenizer.eos_token_id, allowed=allowed)


def _images(store: ObjectStore, read: DocumentsRecord) -> dict[str, bytes]:
    """The patches of the part's images by their digests; no stage stands between reading and here."""
    if not isinstance(read, ReadRecord) or read.images is None:
        return {}
    content = read_file(store, read.images)
    size = len(content) // len(read.image_digests)
    return {
        digest: content[number * size : (number + 1) * size]
        for number, digest in enumerate(read.image_digests)
    }


def _special_tokens(encoder: Tokenizer, tokenizer: TokenizerRecord) -> dict[str, str]:
    ids = {"bos_token": tokenizer.bos_token_id, "eos_token": tokenizer.eos_token_id}
    return {name: encoder.id_to_token(number) or "" for name, number in ids.items() if number is not None}


def _add_all(writer: ShardWriter, documents: Iterable[_Encoded]) -> _Total:
    """Writes a split to its end."""
    count = size = predicted = predicted_size = 0
    refused_at: list[int] = []
    quarantined: list[Refused] = []
    for number, document in enumerate(documents):
        if document.ids is None:
            refused_at.append(number)
            if document.refused is not None and len(quarantined) < QUARANTINED_RECORDS:
                quarantined.append(document.refused)
            continue
        writer.add(document.ids, document.predicted, document.images)
        count += 1
        size += document.text_bytes
        if document.predicted is not None:
            predicted += int(document.predicted.sum())
            predicted_size += document.predicted_bytes
    writer.close()
    statistics = SplitStatistics(
        documents=count, tokens=sum(shard.tokens for shard in writer.shards), bytes=size
    )
    if writer.loss_mask:
        answers = {"predicted_tokens": predicted, "predicted_bytes": predicted_size}
        statistics = statistics.model_copy(update=answers)
    return _Total(statistics, refused_at, quarantined)


def _writer(
    context: Context, store: ObjectStore, tokenizer: TokenizerRecord, read: DocumentsRecord, split: str
) -> ShardWriter:
    marked = context.run.marks_predicted
    return ShardWriter(
        store,
        prefix=context.key(f"{split}/{read.number:05d}"),
        dtype="uint32" if marked else token_dtype(tokenizer.vocab_size),
        shard_tokens=context.run.shard_tokens,
        vocab_size=tokenizer.vocab_size,
        loss_mask=marked,
        image_token_id=tokenizer.image_token_id,
    )
