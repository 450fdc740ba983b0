"""Whether an export can be the start of a run: its architecture, its tokenizer. It loads no weights."""

import json
from collections.abc import Iterator, Sequence

import pydantic

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.contract.recipe import differences
from deepseek_workloads.contract.records import DatasetManifest, ExportManifest
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.hugging_face_config import architecture_of, config_json
from deepseek_workloads.store.interface import ObjectStore

MANIFEST, CONFIG, TOKENIZER = "manifest.json", "config.json", "tokenizer.json"
# Fields of training, not of the weights: a run may set them anew.
_FREE = (
    "initializerRange",
    "initialization",
    "mtpLossWeight",
    "indexer.stage",
    "indexer.lossWeight",
    "moe.biasUpdateSpeed",
    "moe.sequenceBalanceLossWeight",
    "moe.loadBalanceLossWeight",
    "moe.expertCapacityFactor",
)


def initial_model_problems(
    run: TrainingRun, datasets: Sequence[DatasetManifest], store: ObjectStore
) -> Iterator[str]:
    """`store` is at the export's prefix. Raises StoreErrors."""
    document = store.read(MANIFEST)
    recorded = run.init_from.digest if run.init_from else None
    if recorded is not None and (found := sha256_digest(document)) != recorded:
        yield (
            f"{join_uri(store.uri, MANIFEST)}: digest {found}: {recorded} is recorded: restore the export, "
            "or name another one"
        )
        return
    try:
        ExportManifest.model_validate_json(document)
        theirs = architecture_of(json.loads(store.read(CONFIG)))
    except (pydantic.ValidationError, ValueError) as error:
        yield (
            f"{store.uri}: no export of this version: {error}: name the prefix of an export "
            "(status.export.uri of a job)"
        )
        return
    wanted = run.architecture.num_nextn_predict_layers
    if theirs.num_nextn_predict_layers > wanted:  # what is left out is not missed
        theirs = theirs.model_copy(update={"num_nextn_predict_layers": wanted})
    if theirs.indexer is None:  # one that is added begins to learn
        theirs = theirs.model_copy(update={"indexer": run.architecture.indexer})
    documents = (
        theirs.model_dump(mode="json", by_alias=True),
        # By the same way, on which what is left to a default gets its value.
        architecture_of(config_json(run.architecture)).model_dump(mode="json", by_alias=True),
    )
    different = [line for line in differences(*documents) if not line.startswith(_FREE)]
    if different:
        yield (
            f"{store.uri}: its architecture is not that of spec.model ({'; '.join(different[:8])}): name its "
            "preset, and its values in spec.model.architecture"
        )
    tokenizer = sha256_digest(store.read(TOKENIZER))
    for dataset in datasets:
        if dataset.tokenizer_digest != tokenizer:
            yield (
                f"{join_uri(store.uri, TOKENIZER)}: digest {tokenizer}: the datasets of spec.data have the "
                f"tokenizer {dataset.tokenizer_digest}: prepare them with spec.tokenizer.uri of this one"
            )
