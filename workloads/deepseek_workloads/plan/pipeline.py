"""How the layers of a model become the stages of a pipeline, and which rank runs which. Pure."""

from dataclasses import dataclass
from fractions import Fraction

from deepseek_workloads.contract.run_config import PipelineSchedule

# Stages of a rank. Two: a rank's second stage fills the time in which its first one waits.
STAGES_PER_RANK: dict[PipelineSchedule, int] = {
    "1F1B": 1,
    "Interleaved1F1B": 2,
    "ZBVZeroBubble": 2,
    "DualPipeV": 2,
}
# The second stage of these lies mirrored: the rank of the first one also has the last.
MIRRORED: frozenset[PipelineSchedule] = frozenset({"ZBVZeroBubble", "DualPipeV"})
# These compute gradients of inputs and of weights apart, so that those of weights fill gaps.
SPLIT_BACKWARD: frozenset[PipelineSchedule] = frozenset({"ZBVZeroBubble", "DualPipeV"})


@dataclass(frozen=True)
class Stage:
    index: int
    rank: int  # of the pipeline's ranks
    layers: range
    last: bool

    @property
    def first(self) -> bool:
        return self.index == 0


def stages(num_layers: int, *, ranks: int, schedule: PipelineSchedule) -> list[Stage]:
    """`num_layers` is at least the number of stages. The first and the last stage get the fewest: they have
    the embedding and the head too."""
    count = ranks * STAGES_PER_RANK[schedule]
    base, extra = divmod(num_layers, count)
    order = [*range(1, count - 1), 0, count - 1]
    sizes = [base + (index in order[:extra]) for index in range(count)]
    starts = [sum(sizes[:index]) for index in range(count)]
    return [
        Stage(index, _rank(index, ranks, schedule), range(start, start + size), last=index == count - 1)
        for index, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


def _rank(index: int, ranks: int, schedule: PipelineSchedule) -> int:
    if schedule in MIRRORED and index >= ranks:
        return 2 * ranks - 1 - index
    return index % ranks


def enough_passes(passes: int, *, ranks: int, schedule: PipelineSchedule) -> bool:
    """Whether a step of so many micro-batches keeps the schedule's order."""
    if schedule == "Interleaved1F1B":
        return passes % ranks == 0
    return passes >= ranks * (2 if schedule == "DualPipeV" else 1)


def passes_rule(*, ranks: int, schedule: PipelineSchedule) -> str:
    """`enough_passes` in words."""
    if schedule == "Interleaved1F1B":
        return f"a multiple of the {ranks} ranks of the pipeline"
    if schedule == "DualPipeV":
        return f"at least {2 * ranks}, the stages of the pipeline"
    return f"at least {ranks}, the ranks of the pipeline"


def passes_held(passes: int, *, ranks: int, schedule: PipelineSchedule) -> Fraction:
    """Of a step's `passes`, how many wait for their backward pass at once on the rank that holds most,
    measured in passes through all layers: with 1F1B the first of P ranks holds P passes through 1/P of them,
    which is 1. Without a pipeline always 1. As torch.distributed.pipelining orders them."""
    if ranks == 1:
        return Fraction(1)
    stages_held = {
        "1F1B": ranks,
        "Interleaved1F1B": 3 * ranks - 1,
        "ZBVZeroBubble": 2 * ranks,
        "DualPipeV": 2 * ranks + 1,
    }
    of_rank = STAGES_PER_RANK[schedule]
    return Fraction(min(stages_held[schedule], passes * of_rank), ranks * of_rank)


def buffers(passes: int, *, ranks: int, schedule: PipelineSchedule) -> int:
    """Of a rank, each for the hidden states of a micro-batch: torch.distributed.pipelining makes one for what
    each stage receives of each pass, and one for the gradient that comes back, and keeps them."""
    return 2 * STAGES_PER_RANK[schedule] * passes if ranks > 1 else 0
