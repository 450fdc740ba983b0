"""What the state of a run is, and how it is loaded: model, optimizer, router bias, position.

The position is the step and the samples consumed; the schedule, the order of the data and each step's random
numbers are functions of it. Loading fits any number of ranks and any zeroStage. Writing is
`checkpoint_writer`.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.optim import Optimizer

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import CheckpointRecord
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.store.interface import NotFound, ObjectChanged, ObjectStore, StoreError
from deepseek_workloads.store.log import CheckpointEntry, LogEntry, live_checkpoints
from deepseek_workloads.train.checkpoint_index import CheckpointIndex
from deepseek_workloads.train.checkpoint_storage import INDEX_FILE, ObjectStoreReader, ReadHeld
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.replicas.folder import MemoryReplicas, ReplicaFolder
from deepseek_workloads.train.replicas.reading import read_held
from deepseek_workloads.train.writer_ranks import writer_ranks

_OPTIONS = StateDictOptions(flatten_optimizer_state_dict=True)


class CheckpointMismatch(StoreError):
    """What lies in the storage was made by another model or from other data than this run's."""

    reason = reasons.CHECKPOINT_MISMATCH


class NoIntactCheckpoint(StoreError):
    reason = "NoIntactCheckpoint"


class StatePart(Protocol):
    """What else a step depends on: the same tensors on every rank, small, on the CPU."""

    @property
    def needed(self) -> bool:
        """False: a checkpoint of an older version may lack it."""
        ...

    def state(self) -> dict[str, Tensor]: ...

    def load(self, state: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class Position:
    """Where a run is: steps taken, samples seen, tokens trained on."""

    step: int = 0
    consumed_samples: int = 0
    tokens: int = 0

    def after_step(self, *, samples: int, tokens: int) -> "Position":
        return Position(self.step + 1, self.consumed_samples + samples, self.tokens + tokens)


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to: going on with another model or other data would be silent nonsense."""

    architecture_digest: str
    dataset_digests: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """`entry` None: there is no checkpoint. `damaged`: log indices of newer ones that could not be used.
    `from_memory`: bytes of this rank that no store was asked for."""

    position: Position
    entry: CheckpointEntry | None
    damaged: tuple[int, ...]
    warnings: tuple[str, ...]
    from_memory: int = 0


def load_latest(
    store: ObjectStore,
    group: Group,
    *,
    entries: Sequence[LogEntry],
    model: nn.Module,
    optimizer: Optimizer,
    identity: Identity,
    parts: Sequence[StatePart] = (),
    memory: MemoryReplicas | None = None,
) -> Loaded:
    """The newest intact checkpoint into `model` and `optimizer`. A collective, with the same `entries`. What
    `memory` holds of it is not read from the store.

    Raises CheckpointMismatch, NoIntactCheckpoint when there are checkpoints but none can be read, and
    StoreUnavailable: a store that does not answer says nothing about a checkpoint.
    """
    damaged: list[int] = []
    skipped: list[str] = []
    for entry in reversed(live_checkpoints(entries)):
        _check_identity(store, entry.record, identity)
        try:
            source = _Source(store, entry.record, memory)
            from_memory = _load(source, group, model=model, optimizer=optimizer, parts=parts)
        except (NotFound, ObjectChanged) as error:
            damaged.append(entry.index)
            skipped.append(
                f"checkpoint of step {entry.record.step} is damaged, an older one is used: {error}"
            )
            continue
        record = entry.record
        position = Position(record.step, record.consumed_samples, record.tokens)
        return Loaded(position, entry, tuple(damaged), tuple(skipped), from_memory)
    if damaged:
        raise NoIntactCheckpoint(
            f"{store.uri}: none of its {len(damaged)} checkpoints is intact ({skipped[0]}); "
            "restore the objects, or start again at a fresh storage URI"
        )
    return Loaded(Position(), None, (), ())


def load_weights(store: ObjectStore, record: CheckpointRecord, model: nn.Module, *, group: Group) -> None:
    """The weights alone, of one checkpoint, on one rank. Raises NotFound and ObjectChanged when it is not
    intact, and StoreErrors."""
    source = _Source(store, record, None)
    index = group.on_rank_zero(source.index)
    weights = get_model_state_dict(model, options=_OPTIONS)
    named = {f"model.{name}": value for name, value in weights.items() if isinstance(value, Tensor)}
    _read_into(named, source, index, group)
    set_model_state_dict(model, weights, options=_OPTIONS)


def state_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Every tensor of the state under a flat name; an optimizer that has taken no step yet has none.
    Hyperparameters are the run config's, and not stored."""
    weights = get_model_state_dict(model, options=_OPTIONS)
    moments = get_optimizer_state_dict(model, optimizer, options=_OPTIONS) if optimizer.state else {}
    named = {
        **{f"model.{name}": value for name, value in weights.items()},
        **{f"optimizer.{name}": value for name, value in moments.items()},
    }
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def part_tensors(parts: Sequence[StatePart]) -> dict[str, Tensor]:
    return {f"part.{name}": value for part in parts for name, value in part.state().items()}


@contextmanager
def _raising(cause: Callable[[CheckpointException], BaseException]) -> Iterator[None]:
    """In place of what DCP raises for all ranks together."""
    try:
        yield
    except CheckpointException as failure:
        raise cause(failure) from None


def first_cause(failure: CheckpointException) -> BaseException:
    """Of what went wrong on some ranks, the one that explains most: a final error before a transient one."""
    causes = [wrapped[0] for _, wrapped in sorted(failure.failures.items())]
    return min(causes, key=lambda cause: isinstance(cause, StoreError) and cause.transient)


@dataclass(frozen=True)
class _Source:
    """One checkpoint, and where its bytes may be."""

    store: ObjectStore
    record: CheckpointRecord
    memory: MemoryReplicas | None

    def index(self) -> CheckpointIndex:
        return _read_index(self.store, self.record, self.memory.folder if self.memory else None)


def _load(
    source: _Source,
    group: Group,
    *,
    model: nn.Module,
    optimizer: Optimizer,
    parts: Sequence[StatePart],
) -> int:
    """Bytes of this rank that came from memory."""
    index = group.on_rank_zero(source.index)
    stepped = any(tensor.name.startswith("optimizer.") for tensor in index.tensors)
    _make_room(model, optimizer, stepped=stepped)
    stored = {tensor.name for tensor in index.tensors}
    parts = [part for part in parts if part.needed or part_tensors([part]).keys() <= stored]
    tensors = state_tensors(model, optimizer) | part_tensors(parts)

    from_memory = _read_into(tensors, source, index, group)
    weights = get_model_state_dict(model, options=_OPTIONS)
    set_model_state_dict(model, {name: tensors[f"model.{name}"] for name in weights}, options=_OPTIONS)
    if stepped:
        moments = get_optimizer_state_dict(model, optimizer, options=_OPTIONS)
        loaded: dict[str, Any] = {name: tensors[f"optimizer.{name}"] for name in moments if _is_state(name)}
        set_optimizer_state_dict(model, optimizer, {**moments, **loaded}, options=_OPTIONS)
    for part in parts:
        part.load({name: tensors[f"part.{name}"] for name in part.state()})
    return from_memory


def _read_into(tensors: dict[str, Tensor], source: _Source, index: CheckpointIndex, group: Group) -> int:
    memory, prefix = source.memory, source.record.prefix
    ranks = writer_ranks(group) if memory is not None else None

    def read() -> int:
        held: ReadHeld | None = None
        if memory is not None and ranks is not None:
            held = partial(read_held, prefix=prefix, folder=memory.folder, ranks=ranks)
        reader = ObjectStoreReader(source.store, prefix, index, held=held)
        with _raising(_cause_of_load), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load_tensors(
                tensors,
                storage_reader=reader,
                planner=DefaultLoadPlanner(flatten_state_dict=False),
                no_dist=not group.torch_distributed,
            )
        return reader.held_bytes

    with closing(ranks) if ranks is not None else nullcontext():
        if group.torch_distributed:
            return read()  # each rank its part
        from_memory = group.on_rank_zero(read)
    group.broadcast(tensors[name] for name in sorted(tensors))
    return from_memory


def _make_room(model: nn.Module, optimizer: Optimizer, *, stepped: bool) -> None:
    """For what the checkpoint has of an optimizer: nothing where no step had been taken, as when float16's
    gradients overflow at first. What torch makes beforehand would count as a step."""
    if not stepped:
        optimizer.state.clear()
    elif not optimizer.state:
        optimizer.zero_grad(set_to_none=True)  # torch makes states only where there are no gradients
        get_optimizer_state_dict(model, optimizer, options=_OPTIONS)


def _is_state(name: str) -> bool:
    """Of the flat names of an optimizer's state dict; the others are hyperparameters."""
    return name.startswith("state.")


def _cause_of_load(failure: CheckpointException) -> BaseException:
    """A store that does not answer comes first: it hides whether the checkpoint is intact."""
    for _, (cause, _trace) in sorted(failure.failures.items()):
        if isinstance(cause, StoreError) and cause.transient:
            return cause
    return first_cause(failure)


def _read_index(
    store: ObjectStore, record: CheckpointRecord, folder: ReplicaFolder | None
) -> CheckpointIndex:
    key = record.prefix + INDEX_FILE
    entry = next((file for file in record.files if file.key == key), None)
    if entry is None:
        raise ObjectChanged(f"{store.uri}/{key}: the checkpoint's record names no such file")
    expected = (entry.size, entry.checksum)
    kept = folder.read(key) if folder is not None else None
    if kept is not None and (len(kept), object_checksum(kept)) == expected:
        return CheckpointIndex.model_validate_json(kept)
    document = store.read(key)
    if (len(document), object_checksum(document)) != expected:
        raise ObjectChanged(f"{store.uri}/{key}: its size or checksum is not what the commit log says")
    return CheckpointIndex.model_validate_json(document)


def _check_identity(store: ObjectStore, record: CheckpointRecord, identity: Identity) -> None:
    if record.architecture_digest not in ("", identity.architecture_digest):
        raise CheckpointMismatch(
            f"{store.uri}: its checkpoint of step {record.step} is of another model "
            f"({record.architecture_digest}) than this run's ({identity.architecture_digest}): use a fresh "
            "storage URI, or the model that the checkpoint was trained with"
        )
    if record.dataset_digests and tuple(record.dataset_digests) != identity.dataset_digests:
        raise CheckpointMismatch(
            f"{store.uri}: its checkpoint of step {record.step} was trained on datasets "
            f"{', '.join(record.dataset_digests)}, this run's are {', '.join(identity.dataset_digests)}: use "
            "a fresh storage URI, or pin the digests of the datasets"
        )
