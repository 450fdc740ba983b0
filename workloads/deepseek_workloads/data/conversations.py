"""The order of samples that a run asks for: running text, perhaps the easy one first, or conversations,
packed or in batches of similar length."""

from collections.abc import Sequence

import numpy as np

from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import Data, Source, TrainingRun
from deepseek_workloads.data.cursor import DocumentStarts, SamplePlan, check_epochs
from deepseek_workloads.data.difficulty import difficulty_stages, read_levels
from deepseek_workloads.data.document_offsets import read_document_starts
from deepseek_workloads.data.images import read_image_index
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.source_plan import DifficultyCurriculum
from deepseek_workloads.store.interface import ObjectStore


def sample_plan(
    run: TrainingRun, manifests: Sequence[DatasetManifest], stores: Sequence[ObjectStore]
) -> SamplePlan:
    """One manifest and one store for each source, in its order. For sft it reads where documents begin, for a
    curriculum by difficulty their facts, too.

    Raises DatasetError for text where conversations are asked for, for documents without a difficulty where
    the curriculum asks for it, and for more epochs than are allowed; and the StoreErrors of reading.
    """
    plan = plan_samples(run, manifests, stores)
    check_epochs(plan, samples=run.training.steps * run.training.global_batch_size)
    return plan


def run_on(source: Source, run: TrainingRun) -> TrainingRun:
    """As the run reads one source alone, from its first sample on: neither mixed, skipped nor staged."""
    data = run.data.model_copy(update={"sources": [source], "mixture": None, "skip": None})
    training = run.training.model_copy(update={"curriculum": []})
    return run.model_copy(update={"data": data, "training": training})


def plan_samples(
    run: TrainingRun, manifests: Sequence[DatasetManifest], stores: Sequence[ObjectStore]
) -> SamplePlan:
    """As `sample_plan`, however many epochs the run takes."""
    _check_images(run, manifests)
    if run.training.objective != "sft":
        return SamplePlan(run.data, manifests, difficulty=_difficulty(run, manifests, stores))
    documents = conversation_starts(run.data, manifests, stores)
    if run.data.long_conversations == "refuse":
        _refuse_long(run, documents)
    bucketed = run.training.global_batch_size if run.data.packing == "bucketed" else None
    return SamplePlan(run.data, manifests, documents, bucketed=bucketed)


def conversation_starts(
    data: Data, manifests: Sequence[DatasetManifest], stores: Sequence[ObjectStore]
) -> list[DocumentStarts]:
    """Of each source. Raises DatasetError where one is plain text, and the StoreErrors of reading."""
    for source, manifest in zip(data.sources, manifests, strict=True):
        if not all(shard.loss_mask for shard in [*manifest.train, *manifest.held_out]):
            raise DatasetError(
                f"data source {source.name!r}: plain text: training.objective sft learns the answers of "
                "conversations: prepare a dataset from sources of format chat, or use objective pretrain"
            )
    return [
        DocumentStarts(
            read_document_starts(store, manifest.train),
            read_document_starts(store, manifest.held_out),
            read_image_index(store, manifest.train) if manifest.images else None,
            read_image_index(store, manifest.held_out) if manifest.images else None,
        )
        for manifest, store in zip(manifests, stores, strict=True)
    ]


def _refuse_long(run: TrainingRun, documents: Sequence[DocumentStarts]) -> None:
    length = run.data.sequence_length
    for source, of_source in zip(run.data.sources, documents, strict=True):
        sizes = np.concatenate([np.diff(of_source.train), np.diff(of_source.held_out)])
        if (long := sizes[sizes > length + 1]).size:
            raise DatasetError(
                f"data source {source.name!r}: {long.size} of {sizes.size} conversations are longer than "
                f"data.sequenceLength + 1 = {length + 1} tokens, and data.longConversations is refuse: set "
                f"sequenceLength to {int(long.max()) - 1}, longConversations to truncate or drop, or split "
                "them before preparation"
            )


def _difficulty(
    run: TrainingRun, manifests: Sequence[DatasetManifest], stores: Sequence[ObjectStore]
) -> DifficultyCurriculum | None:
    stages = difficulty_stages(run.training.curriculum, global_batch_size=run.training.global_batch_size)
    if not stages:
        return None
    length = run.data.sequence_length
    levels = [
        read_levels(store, manifest, source=source.name, sequence_length=length)
        for source, manifest, store in zip(run.data.sources, manifests, stores, strict=True)
    ]
    return DifficultyCurriculum(stages, tuple(levels))


def _check_images(run: TrainingRun, manifests: Sequence[DatasetManifest]) -> None:
    """Whether the model sees, and as the datasets were prepared. Raises DatasetError."""
    vision = run.architecture.vision
    found = [
        (source.name, manifest.images)
        for source, manifest in zip(run.data.sources, manifests, strict=True)
        if manifest.images is not None
    ]
    if vision is not None and not found:
        raise DatasetError(
            "spec.model.vision: no source of spec.data has images, from which it could learn: add one that "
            "was prepared from format image-text, or leave vision away"
        )
    for name, images in found:
        if vision is None:
            raise DatasetError(
                f"data source {name!r}: has images, and the model sees none: set spec.model.vision with "
                f"imageSize {images.image_size}, patchSize {images.patch_size} and imageTokenId "
                f"{images.image_token_id}"
            )
        wanted = {
            "imageSize": (vision.image_size, images.image_size),
            "patchSize": (vision.patch_size, images.patch_size),
            "imageTokenId": (vision.image_token_id, images.image_token_id),
        }
        for field, (ours, theirs) in wanted.items():
            if ours != theirs:
                raise DatasetError(
                    f"data source {name!r}: its {field} is {theirs}, spec.model.vision.{field} is {ours}: "
                    f"set that to {theirs}, or prepare the dataset again with {ours}"
                )
