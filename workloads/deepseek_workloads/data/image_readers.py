"""A reader of images for each source of a plan that has some."""

from collections.abc import Sequence

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.images import ImageReader
from deepseek_workloads.store.interface import ObjectStore


def image_readers(
    plan: SamplePlan, stores: Sequence[ObjectStore], *, held_out: bool
) -> list[ImageReader | None]:
    """One for each source, in its order; None: text alone."""
    if plan.image_shape is None:
        return [None] * len(stores)
    patches, size = plan.image_shape
    readers: list[ImageReader | None] = []
    for store, manifest, documents in zip(stores, plan.manifests, plan.documents, strict=True):
        shards = manifest.held_out if held_out else manifest.train
        index = documents.held_out_images if held_out else documents.train_images
        found = ImageReader(store, shards, index, image_bytes=patches * size) if index is not None else None
        readers.append(found)
    return readers
