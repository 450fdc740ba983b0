"""What decides a dataset's content besides its raw objects, as one digest. Pure."""

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.chat_template import conversation_template
from deepseek_workloads.data.prepare.publish import Identity
from deepseek_workloads.data.prepare.shards import CHUNK_TOKENS

# Grows when published datasets are to be prepared again, which is then refused at their storage.uri. What a
# stage would write otherwise since it was mended is no such reason: a dataset stays what it is.
FORMAT = 1
_LAYOUT = 3  # of the files between the stages: work that was begun in another one is begun again
# Of inputs and of the report, then of the stages.
_LIBRARIES = ("tokenizers", "selectolax", "jinja2", "pillow")
_LIBRARIES_OF_STAGES = ("ftfy", "py3langid", "phonenumbers", "rensa")
_EXTRAS_OF_STAGES = ("transformers", "ufal.udpipe")  # not every image has them
_NAMESPACE = uuid.UUID("6f1f7f0e-1c1b-5d5c-9a52-3c1d5a6f4a11")


def settings_digest(run: DatasetRun, *, tokenizer_digest: str | None) -> str:
    """`tokenizer_digest`: of the tokenizer.json that was given, or None where one is trained. Names, limits
    of bad records, workers and policies decide nothing of the content."""
    settings = {
        "format": FORMAT,
        "sources": [
            source.model_dump(by_alias=True, mode="json", exclude={"name"}, exclude_none=True)
            for source in run.raw_sources
        ],
        "tokenizer": tokenizer_digest
        or (run.tokenizer and run.tokenizer.model_dump(by_alias=True, mode="json")),
        "normalization": run.normalization,
        "deduplicate": run.deduplicate,
        "heldOutFraction": run.held_out_fraction,
        "shardTokens": run.shard_tokens,
        "chunkTokens": CHUNK_TOKENS,
    }
    if run.with_images:
        settings["images"] = run.image_settings.model_dump(by_alias=True, mode="json")
    if run.image_augmentation is not None:
        settings["imageAugmentation"] = run.image_augmentation.model_dump(by_alias=True, mode="json")
    if run.marks_predicted:
        settings["chatTemplate"] = conversation_template(run.chat_template)
    if run.pipeline:
        stages = [stage.model_dump(by_alias=True, mode="json", exclude_none=True) for stage in run.pipeline]
        settings["pipeline"] = stages
    return sha256_digest(json.dumps(settings, sort_keys=True).encode())


def attempt_id(identity: Identity, run: DatasetRun) -> str:
    """The UUID of the work below `data/`: the same after a restart, another one for libraries that might
    write other bytes."""
    names = (*_LIBRARIES, *(_LIBRARIES_OF_STAGES if run.pipeline else ()))
    libraries = [f"{name}-{version(name)}" for name in names]
    libraries += [*_extras()] if run.pipeline else []
    libraries.append(f"layout-{_LAYOUT}")
    name = f"{identity.raw_fingerprint} {identity.settings_digest} {' '.join(libraries)}"
    return str(uuid.uuid5(_NAMESPACE, name))


def _extras() -> Iterator[str]:
    for name in _EXTRAS_OF_STAGES:
        with suppress(PackageNotFoundError):
            yield f"{name}-{version(name)}"
