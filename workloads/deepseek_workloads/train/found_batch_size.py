"""The micro-batch size that was found, kept beside the metrics: under the same conditions a restart need
not measure, and its ranks add up gradients as before.

It knows the conditions, not how anything is measured. Where the object is lost a run measures.
"""

from dataclasses import dataclass

import torch
from pydantic import Field, ValidationError

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
    torch: str = torch.__version__


class KeptBatchSize(TolerantWireModel):
    """`runs/micro-batch-size.json`, the newest alone."""

    sequences: int = Field(ge=1)  # of one pass of a rank
    conditions: Conditions


def recalled(store: ObjectStore, conditions: Conditions) -> int | None:
    """Sequences; None: nobody has measured under these conditions. Raises StoreErrors."""
    try:
        found = KeptBatchSize.model_validate_json(store.read(KEY))
    except (NotFound, ValidationError):  # of another version: it is measured and written again
        return None
    return found.sequences if found.conditions == conditions else None


def keep(store: ObjectStore, conditions: Conditions, sequences: int) -> str | None:
    """Why it could not be kept, which costs a measurement after a restart only; None: it was."""
    try:
        store.put(KEY, KeptBatchSize(sequences=sequences, conditions=conditions).to_json())
    except StoreError as error:
        return f"the micro-batch size is not kept, a restart measures again: {error}"
    return None
