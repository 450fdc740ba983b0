"""Datasets that a run is only evaluated on: all their documents are held out.

It does not know the model, nor when it is evaluated.
"""

from deepseek_workloads.contract.records import DatasetManifest, SplitStatistics
from deepseek_workloads.contract.run_config import Source, TrainingRun
from deepseek_workloads.data.conversations import plan_samples, run_on
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.interface import ObjectStore


def evaluation_plan(
    run: TrainingRun,
    source: Source,
    manifest: DatasetManifest,
    store: ObjectStore,
    *,
    trained: DatasetManifest,
) -> SamplePlan:
    """Of one set, whose held-out windows are all that it has. `trained`: a manifest of what the run learns.

    Raises DatasetError where the set has another tokenizer than that, or none of what the objective asks for,
    and the StoreErrors of reading.
    """
    if manifest.tokenizer_digest != trained.tokenizer_digest:
        raise DatasetError(
            f"evaluation source {source.name!r}: tokenizer {manifest.tokenizer_digest}: must be that of "
            f"spec.data.sources ({trained.tokenizer_digest}); prepare it with that tokenizer"
        )
    alone = run_on(source, run)
    # What a set measures is not a matter of what is trained on: its long conversations are cut.
    data = alone.data.model_copy(update={"long_conversations": None})
    return plan_samples(alone.model_copy(update={"data": data}), [_all_held_out(manifest)], [store])


def _all_held_out(manifest: DatasetManifest) -> DatasetManifest:
    splits = [manifest.statistics.get(name, SplitStatistics()) for name in ("train", "heldOut")]
    both = SplitStatistics(
        documents=sum(split.documents for split in splits),
        tokens=sum(split.tokens for split in splits),
        bytes=sum(split.bytes for split in splits),
        predicted_tokens=sum(split.predicted_tokens or 0 for split in splits),
        predicted_bytes=sum(split.predicted_bytes or 0 for split in splits),
    )
    shards = [*manifest.train, *manifest.held_out]
    return manifest.model_copy(update={"train": shards, "held_out": shards, "statistics": {"heldOut": both}})
