"""The order of samples that a run's objective asks for: running text, or conversations packed whole."""

from collections.abc import Sequence

from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.cursor import DocumentStarts, SamplePlan
from deepseek_workloads.data.document_offsets import read_document_starts
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.interface import ObjectStore


def sample_plan(
    run: TrainingRun, manifests: Sequence[DatasetManifest], stores: Sequence[ObjectStore]
) -> SamplePlan:
    """One manifest and one store for each source, in its order. For sft it reads where documents begin.

    Raises DatasetError for text where conversations are asked for, and the StoreErrors of reading.
    """
    if run.training.objective != "sft":
        return SamplePlan(run.data, manifests)
    for source, manifest in zip(run.data.sources, manifests, strict=True):
        if not all(shard.loss_mask for shard in [*manifest.train, *manifest.held_out]):
            raise DatasetError(
                f"data source {source.name!r}: plain text: training.objective sft learns the answers of "
                "conversations: prepare a dataset from sources of format chat, or use objective pretrain"
            )
    documents = [
        DocumentStarts(
            read_document_starts(store, manifest.train), read_document_starts(store, manifest.held_out)
        )
        for manifest, store in zip(manifests, stores, strict=True)
    ]
    return SamplePlan(run.data, manifests, documents)
