"""The micro-batch size that was found, kept beside the metrics: under the same conditions a restart need
not measure, and its ranks add up gradients as before.

A start that wrote no checkpoint has not shown that its size fits: it may have been killed for the memory that
it took, which nobody is left to tell. The next one measures.

It knows the conditions, not how anything is measured. Where the object is lost a run measures.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from pydantic import Field, ValidationError

import deepseek_workloads
from deepseek_workloads.contract.layout import RUNS_PREFIX
from deepseek_workloads.contract.wire import TolerantWireModel
from deepseek_workloads.store.interface import NotFound, ObjectStore, StoreError

KEY = f"{RUNS_PREFIX}micro-batch-size.json"


@dataclass(frozen=True)
class Found:
    sequences: int  # of one pass of a rank
    measured: bool  # False: an earlier start of the run did it
    warning: str | None = None


class Conditions(TolerantWireModel):
    """What a size depends on: with any other it is measured anew."""

    run_config_digest: str
    world_size: int
    memory_bytes: int  # a rank's limit, the least of them
    device: str  # of rank 0: the product of a GPU, or cpu
    torch: str  # its version
    program: str  # `program_digest`


class KeptBatchSize(TolerantWireModel):
    """`runs/micro-batch-size.json`, of the newest start alone."""

    sequences: int = Field(ge=1)  # of one pass of a rank
    conditions: Conditions
    checkpoint: int = Field(ge=0)  # its index in the log, which the start went on from; 0: none


@cache
def program_digest() -> str:
    """Of our sources: another image may compute otherwise, whatever its version says."""
    root = Path(deepseek_workloads.__file__).parent
    digest = sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def recalled(store: ObjectStore, conditions: Conditions, *, checkpoint: int) -> int | None:
    """Sequences; None: nobody has measured under these conditions, or the start before this one wrote no
    checkpoint. `checkpoint`: that this start goes on from. Raises StoreErrors."""
    try:
        found = KeptBatchSize.model_validate_json(store.read(KEY))
    except (NotFound, ValidationError):  # of another version: it is measured and written again
        return None
    proven = found.conditions == conditions and checkpoint > found.checkpoint
    return found.sequences if proven else None


def keep(store: ObjectStore, conditions: Conditions, sequences: int, *, checkpoint: int) -> str | None:
    """What this start takes, also where it was recalled. Returns why it could not be kept, which costs a
    measurement after a restart only; None: it was."""
    kept = KeptBatchSize(sequences=sequences, conditions=conditions, checkpoint=checkpoint)
    try:
        store.put(KEY, kept.to_json())
    except StoreError as error:
        return f"the micro-batch size is not kept, a restart measures again: {error}"
    return None
