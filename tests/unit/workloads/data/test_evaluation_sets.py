"""What an evaluation set measures does not depend on what is done with the conversations that are learnt."""

import numpy as np
import pytest

from deepseek_workloads.contract.records import DatasetManifest, Shard
from deepseek_workloads.contract.run_config import Owner, Storage, Training, TrainingRun, Workers
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.conversations import plan_samples
from deepseek_workloads.data.evaluation_sets import evaluation_plan
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.store.interface import ObjectStore

SIZES = [3, 9, 5]  # tokens of a conversation; a sequence has 4 + 1


def _of_conversations(store: ObjectStore, manifest: DatasetManifest) -> DatasetManifest:
    starts = np.cumsum([0, *SIZES])[:-1].astype("<u8").tobytes()

    def shard(each: Shard) -> Shard:
        store.put(each.document_offsets_key, starts)
        update = {"loss_mask": True, "document_offsets_checksum": object_checksum(starts)}
        return each.model_copy(update=update)

    return manifest.model_copy(
        update={"train": [*map(shard, manifest.train)], "held_out": [*map(shard, manifest.held_out)]}
    )


@pytest.mark.parametrize("packing", [None, "bucketed"])
@pytest.mark.parametrize("long_conversations", ["drop", "refuse"])
def test_its_long_conversations_are_cut_whatever_becomes_of_those_that_are_learnt(
    packing, long_conversations, new_store, write_dataset, make_data
) -> None:
    store = new_store("a")
    manifest = _of_conversations(store, write_dataset(store, [17], held_out_tokens=[17], dtype="uint32"))
    data = make_data().model_copy(update={"packing": packing, "long_conversations": long_conversations})
    run = TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=data,
        training=Training(objective="sft", steps=1, global_batch_size=1),
        workers=Workers(num_nodes=1),
        storage=Storage(uri="s3://models/tiny"),
    )
    plan = evaluation_plan(run, data.sources[0], manifest, store, trained=manifest)
    assert plan.held_out_windows[0].count == 2 * len(SIZES)
    if long_conversations == "refuse":
        with pytest.raises(DatasetError, match="2 of 6 conversations are longer"):
            plan_samples(run, [manifest], [store])
    else:
        assert plan_samples(run, [manifest], [store]).held_out_windows[0].count == len(SIZES) - 1
