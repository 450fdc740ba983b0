"""The manifest of a prepared dataset, and its publication by one conditional write."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import DATASET_MANIFEST, join_uri
from deepseek_workloads.contract.records import (
    DatasetManifest,
    DatasetReport,
    FileEntry,
    ImageFormat,
    SplitStatistics,
    StageReport,
)
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.chat_template import conversation_template
from deepseek_workloads.data.manifest import DatasetError, PinnedManifest, pin_manifest
from deepseek_workloads.data.prepare.records import ReadRecord, TokenizeRecord, TokenizerRecord
from deepseek_workloads.data.prepare.reports import DUPLICATES
from deepseek_workloads.data.prepare.statistics import Counts, unigram_bits_per_byte
from deepseek_workloads.store.interface import AlreadyExists, NotFound, ObjectStore


@dataclass(frozen=True)
class Identity:
    """What a dataset is made from, and for whom: two with equal digests have equal shards."""

    raw_fingerprint: str
    settings_digest: str
    owner_uid: str


def build_manifest(
    identity: Identity,
    run: DatasetRun,
    *,
    read: Sequence[ReadRecord],
    tokenizer: TokenizerRecord,
    tokenized: Sequence[TokenizeRecord],
    counts: Counts,
    reports: Sequence[StageReport],
    report: DatasetReport,
    raw_objects: FileEntry,
) -> DatasetManifest:
    """`counts`: uint64 [2, vocab_size], train and held-out. `reports`: of the stages."""
    splits = {
        "train": [record.train_statistics for record in tokenized],
        "heldOut": [record.held_out_statistics for record in tokenized],
    }
    chat_template = conversation_template(run.chat_template) if run.marks_predicted else None
    languages: dict[str, int] = {}
    for record in tokenized:
        for language, documents in record.languages.items():
            languages[language] = languages.get(language, 0) + documents
    return DatasetManifest(
        tokenizer_key=tokenizer.key,
        tokenizer_digest=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        train=[shard for record in tokenized for shard in record.train],
        held_out=[shard for record in tokenized for shard in record.held_out],
        statistics={
            name: _total(parts, counts[split], train_counts=counts[0])
            for split, (name, parts) in enumerate(splits.items())
        },
        languages=dict(sorted(languages.items())),
        documents_in=sum(record.documents + record.empty for record in read),
        empty_documents=sum(record.empty for record in read),
        duplicates_dropped=sum(each.dropped.get(name, 0) for each in reports for name in DUPLICATES),
        bad_records=sum(record.bad_records for record in read) + sum(record.refused for record in tokenized),
        augmented_documents=sum(record.augmented for record in tokenized),
        report=report,
        raw_objects=raw_objects,
        chat_template=chat_template,
        images=_image_format(run, tokenizer),
        raw_fingerprint=identity.raw_fingerprint,
        settings_digest=identity.settings_digest,
        owner_uid=identity.owner_uid,
    )


def _image_format(run: DatasetRun, tokenizer: TokenizerRecord) -> ImageFormat | None:
    if tokenizer.image_token_id is None:
        return None
    return ImageFormat(**run.image_settings.model_dump(), image_token_id=tokenizer.image_token_id)


def publish(store: ObjectStore, manifest: DatasetManifest) -> PinnedManifest:
    """Returns what is published: this manifest, or the equal one of another writer. Raises DatasetError
    when another dataset was published here meanwhile."""
    document = manifest.to_json()
    try:
        store.create(DATASET_MANIFEST, document)
    except AlreadyExists:
        identity = Identity(manifest.raw_fingerprint, manifest.settings_digest, manifest.owner_uid)
        found = find_published(store, identity)
        assert found is not None
        return found
    return PinnedManifest(manifest, sha256_digest(document))


def find_published(store: ObjectStore, identity: Identity) -> PinnedManifest | None:
    """The dataset that is there, if it is what would be prepared. None when there is none; raises
    DatasetError when there is another: a published dataset is never overwritten."""
    try:
        found = pin_manifest(store, None)
    except NotFound:
        return None
    same_settings = found.manifest.settings_digest == identity.settings_digest
    same_raw = found.manifest.raw_fingerprint == identity.raw_fingerprint
    if same_settings and (same_raw or found.manifest.owner_uid == identity.owner_uid):
        return found  # a published dataset stays what its owner asked for, whatever became of the raw objects
    difference = "raw objects" if same_settings else "settings"
    raise DatasetError(
        f"{join_uri(store.uri, DATASET_MANIFEST)}: digest {found.digest}: was prepared from other "
        f"{difference} and is never overwritten: choose a fresh storage.uri for the new dataset",
        reasons.DATASET_EXISTS,
    )


def _total(parts: Sequence[SplitStatistics], counts: Counts, *, train_counts: Counts) -> SplitStatistics:
    size = sum(part.bytes for part in parts)
    return SplitStatistics(
        documents=sum(part.documents for part in parts),
        tokens=sum(part.tokens for part in parts),
        bytes=size,
        predicted_tokens=_sum([part.predicted_tokens for part in parts]),
        predicted_bytes=_sum([part.predicted_bytes for part in parts]),
        unigram_bits_per_byte=unigram_bits_per_byte(counts, train_counts=train_counts, text_bytes=size),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    """None: the documents are no conversations."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
