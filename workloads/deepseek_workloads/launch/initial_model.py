"""Whether an export, or a folder of Hugging Face, can be the start or the teacher of a run: its architecture,
tokenizer, and of a folder, which nothing vouches for, its tensors (`initial_folder`)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import digest_in_uri, join_uri
from deepseek_workloads.contract.records import DatasetManifest, ExportManifest
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.export.folder import CONFIG, TOKENIZER, HuggingFaceFolder, open_folder
from deepseek_workloads.launch.initial_folder import folder_problems
from deepseek_workloads.launch.initial_vision import kept_random
from deepseek_workloads.plan.hugging_face_config import architecture_of
from deepseek_workloads.plan.initial_model_rules import architecture_problem
from deepseek_workloads.plan.memory_rules import check_memory
from deepseek_workloads.plan.training_rules import mixes_conversations
from deepseek_workloads.store.interface import NotFound, ObjectStore

MANIFEST = "manifest.json"


def initial_model_problems(
    run: TrainingRun, datasets: Sequence[DatasetManifest], store: ObjectStore, *, read_weights: bool = True
) -> Iterator[str]:
    """`store` is at the prefix of an export or of a Hugging Face folder; of this `read_weights` says whether
    its numbers are looked at. Raises StoreErrors."""
    recorded = run.init_from.digest if run.init_from else None
    try:
        config, folder = _opened(store, recorded)
    except ValueError as error:
        yield str(error)
        return
    try:
        theirs = architecture_of(config)
    except ValueError as error:
        yield f"{join_uri(store.uri, CONFIG)}: {error}: it is not of the family that can be trained"
        return
    different = architecture_problem(run.architecture, theirs, uri=store.uri)
    if different is not None:
        yield different
    elif folder is not None:
        yield from folder_problems(
            folder,
            run.architecture,
            theirs=theirs,
            read_weights=read_weights,
        )
    if theirs.vision is None:
        yield from kept_random(run, store.uri)
    if folder is None or folder.has_tokenizer:
        yield from _tokenizer_problems(datasets, store)


def teacher_problems(
    run: TrainingRun, datasets: Sequence[DatasetManifest], store: ObjectStore
) -> Iterator[str]:
    """Whether a model can teach the run's: the same tokens, whatever its size. `store` is at the prefix of an
    export or of a Hugging Face folder. Raises StoreErrors."""
    wanted = run.training.distillation
    teacher = wanted.teacher if wanted else None
    try:
        config, folder = _opened(store, teacher.digest if teacher else None)
        whole = architecture_of(config)
        theirs = whole.model_copy(update={"num_nextn_predict_layers": 0})
    except ValueError as error:
        yield f"{store.uri}: cannot teach: {error}"
        return
    if folder is not None:
        yield from folder_problems(folder, theirs, theirs=whole)
    if theirs.vocab_size != run.architecture.vocab_size:
        yield (
            f"{store.uri}: its vocabulary has {theirs.vocab_size} entries, that of spec.model "
            f"{run.architecture.vocab_size}: set vocabSize in spec.model.architecture to the teacher's"
        )
    if theirs.max_position_embeddings < run.data.sequence_length:
        yield (
            f"{store.uri}: it reads {theirs.max_position_embeddings} tokens at most, data.sequenceLength is "
            f"{run.data.sequence_length}: use shorter sequences"
        )
    yield from map(str, check_memory(run, teacher=theirs))
    if run.data.packing is None:
        mixing = mixes_conversations(theirs) if run.masks_documents else None
        if mixing is not None:
            yield (
                f"{store.uri}: its attention {mixing} would mix the documents of a row, which objective sft "
                "and data.documentMask keep apart: use a teacher of attention.kind mla without an indexer, "
                "or for conversations data.packing bucketed"
            )
    elif theirs.attention.kind == "lsh":
        yield (
            f"{store.uri}: its attention lsh would sort padding in among the tokens: use a teacher of "
            "another attention.kind"
        )
    if folder is None or folder.has_tokenizer:
        yield from _tokenizer_problems(datasets, store)


def _opened(store: ObjectStore, recorded: str | None) -> tuple[Mapping[str, Any], HuggingFaceFolder | None]:
    """Its config.json, and the folder where it is no export. Raises ValueError that says what is wrong, and
    StoreErrors."""
    if _is_export(store, recorded):
        return _config_of_export(store, recorded), None
    folder = open_folder(store)
    return folder.config, folder


def _is_export(store: ObjectStore, recorded: str | None) -> bool:
    if recorded is not None or digest_in_uri(store.uri) is not None:
        return True
    try:
        store.stat(MANIFEST)
    except NotFound:
        return False
    return True


def _config_of_export(store: ObjectStore, recorded: str | None) -> Mapping[str, Any]:
    """Raises ValueError that says what is wrong, and StoreErrors."""
    document = store.read(MANIFEST)
    if recorded is not None and (found := sha256_digest(document)) != recorded:
        raise ValueError(
            f"{join_uri(store.uri, MANIFEST)}: digest {found}: {recorded} is recorded: restore the export, "
            "or name another one"
        )
    try:
        ExportManifest.model_validate_json(document)
        config: Mapping[str, Any] = json.loads(store.read(CONFIG))
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} must be an object")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{store.uri}: no export of this version: {error}: name the prefix of an export "
            "(status.export.uri of a job)"
        ) from error
    return config


def _tokenizer_problems(datasets: Sequence[DatasetManifest], store: ObjectStore) -> Iterator[str]:
    tokenizer = sha256_digest(store.read(TOKENIZER))
    for dataset in datasets:
        if dataset.tokenizer_digest != tokenizer:
            yield (
                f"{join_uri(store.uri, TOKENIZER)}: digest {tokenizer}: the datasets of spec.data have the "
                f"tokenizer {dataset.tokenizer_digest}: prepare them with spec.tokenizer.uri of this one"
            )
