"""How many sequences a pass takes: 80 % of what fits into a rank's memory, measured before the first step.

Passes over one and over two made-up sequences tell what a sequence costs, since what is kept grows by it; the
larger pass is not tried where twice the smaller one might not fit. So nothing ever runs out of memory here.
Gradient accumulation keeps the global batch as it was. What was found holds for restarts too, as long as the
group, its memory and the program are the same, and the start before wrote a checkpoint with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.rows import RowImages, Rows
from deepseek_workloads.data.stream import Batch
from deepseek_workloads.data.top_k import TopK
from deepseek_workloads.plan.estimate import estimate
from deepseek_workloads.train.found_batch_size import Conditions, Found, keep, program_digest, recalled
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.setup import Setup
from deepseek_workloads.train.trainer import Trainer

_FITTING_OF_TEN = 8
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)


class Meter(Protocol):
    """Memory of one rank, bytes."""

    limit: int

    def held(self) -> int: ...

    def peak(self, work: Callable[[], None]) -> int:
        """The most that was held while it ran."""


class GpuMeter:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.limit = torch.cuda.get_device_properties(device).total_memory

    def held(self) -> int:
        return torch.cuda.memory_allocated(self._device)

    def peak(self, work: Callable[[], None]) -> int:
        torch.cuda.reset_peak_memory_stats(self._device)
        work()
        return torch.cuda.max_memory_allocated(self._device)


class ProcessMeter:
    """Of a process by what the kernel counts as resident."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def held(self) -> int:
        return _resident("VmRSS")

    def peak(self, work: Callable[[], None]) -> int:
        _CLEAR.write_text(_RESET_PEAK)
        work()
        return _resident("VmHWM")


@dataclass(frozen=True)
class Measured:
    one: int  # bytes at the peak of a pass over one sequence
    two: int  # over two
    to_come: int  # what the first step allocates for good
    limit: int


def fitting(measured: Measured, *, most: int) -> int:
    """Sequences, 1 to `most`."""
    of_one = max(1, measured.two - measured.one)
    without = measured.one - of_one + measured.to_come
    largest = (measured.limit - without) // of_one
    return max(1, min(most, largest * _FITTING_OF_TEN // 10))


def find_micro_batch_size(setup: Setup, trainer: Trainer) -> Found:
    """A collective: the same on every rank. Raises StoreErrors."""
    group = setup.group
    meter = _meter(setup.run, group.device)
    conditions = Conditions(
        run_config_digest=setup.epoch.run_config_digest,
        world_size=group.world_size,
        memory_bytes=_least(meter.limit, group),
        device=_product(group.device),
        torch=torch.__version__,
        program=program_digest(),
    )
    checkpoint = setup.loaded.entry.index if setup.loaded.entry is not None else 0
    known = group.on_rank_zero(lambda: recalled(setup.store, conditions, checkpoint=checkpoint))
    sequences = known if known is not None else _measured(setup, trainer, meter)
    warning = group.on_rank_zero(lambda: keep(setup.store, conditions, sequences, checkpoint=checkpoint))
    return Found(sequences, measured=known is None, warning=warning)


def _measured(setup: Setup, trainer: Trainer, meter: Meter) -> int:
    """Sequences."""
    run, plan = setup.run, setup.data.plan
    top_k = setup.top_k.top_k if setup.top_k is not None else None
    return measure(
        lambda sequences: trainer.rehearse(
            made_up(plan, sequences, vocabulary=run.architecture.vocab_size, top_k=top_k)
        ),
        meter,
        setup.group,
        to_come=_to_come(setup),
        most=run.training.global_batch_size // setup.model.layout.data,
    )


def _product(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _to_come(setup: Setup) -> int:
    """What steps and the first checkpoint allocate for good."""
    memory = estimate(setup.run).memory
    return (0 if setup.optimizer.state else memory.optimizer) + memory.staged


def measure(rehearse: Callable[[int], None], meter: Meter, group: Group, *, to_come: int, most: int) -> int:
    """A collective: `rehearse` runs a pass over so many sequences. `most`: a rank's share of a step."""
    if most == 1:
        return 1
    rehearse(1)  # what is allocated once is there from here on
    before = meter.held()
    one = meter.peak(lambda: rehearse(1))
    two_may_fit = 2 * one - min(before, one) + to_come <= meter.limit
    if not _least(int(two_may_fit), group):
        return 1
    two = meter.peak(lambda: rehearse(2))
    return _least(fitting(Measured(one, two, to_come, meter.limit), most=most), group)


def made_up(plan: SamplePlan, sequences: int, *, vocabulary: int, top_k: int | None) -> Batch:
    """As full as a batch can be: every token is predicted, and every place that an image fits has one.
    `top_k`: tokens that a teacher foresees at each position; None: no logits were stored."""
    width = plan.sequence_length + 1
    ids = torch.randint(vocabulary, (sequences, width), generator=torch.Generator().manual_seed(0))
    rows = Rows(
        ids,
        ids[:, 1:].clone(),
        torch.zeros_like(ids) if plan.packed or plan.data.document_mask else None,
        _images(plan.image_shape, sequences, plan.sequence_length) if plan.image_shape else None,
        separate=plan.bucketed is not None,
    )
    foreseen = None if top_k is None else _foreseen(sequences * plan.sequence_length, top_k)
    return Batch(rows, sample_ids=list(range(sequences)), first_sample=0, last_of_step=True, top_k=foreseen)


def _foreseen(positions: int, top_k: int) -> TopK:
    values = np.zeros((positions, top_k), dtype=np.float32)
    return TopK(np.arange(positions), values.astype(np.uint32), values, values[:, 0])


def _images(shape: tuple[int, int], sequences: int, length: int) -> RowImages:
    each = length // shape[0]
    return RowImages(
        torch.zeros(sequences * each, *shape, dtype=torch.uint8),
        torch.arange(sequences).repeat_interleave(each),
        (torch.arange(each) * shape[0]).repeat(sequences),
    )


def _meter(run: TrainingRun, device: torch.device) -> Meter:
    if device.type == "cuda":
        return GpuMeter(device)
    assert run.workers.memory_bytes is not None, "plan.batch_rules"
    return ProcessMeter(run.workers.memory_bytes // run.workers.num_proc_per_node)


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _least(value: int, group: Group) -> int:
    return int(group.gather(torch.tensor([value], dtype=torch.int64, device=group.device)).min())
