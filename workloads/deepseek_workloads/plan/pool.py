"""The smallest pool of GPUs that a model can be trained on. Pure; it knows GPUs by their memory only."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.layout import data_parallel_layout
from deepseek_workloads.plan.memory import estimate_memory

GIB = 2**30
GPU_MEMORY_BYTES = 80 * GIB  # where nobody says which
USABLE = 0.9  # of a GPU: the rest is the allocator's, CUDA's and NCCL's
MAX_GPUS = 65_536
_EXPERT_DEGREES = (1, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Pool:
    gpus: int
    zero_stage: int
    recompute: bool  # whether layers must run again in the backward pass
    expert: int  # expertParallelDegree
    memory_bytes: int  # of one rank

    def __str__(self) -> str:
        sharded = f"zeroStage {self.zero_stage}" if self.zero_stage else "unsharded"
        again = ", recomputed activations" if self.recompute else ""
        among = f", expertParallelDegree {self.expert}" if self.expert > 1 else ""
        return f"{self.gpus} ({sharded}{among}{again})"


def smallest_pool(
    architecture: Architecture, *, sequence_length: int, precision: str, gpu_memory_bytes: int
) -> Pool | None:
    """One sequence a pass; the fewest GPUs first, then the least that must be done beside. None: what a
    single layer needs does not fit a GPU of this memory."""
    for gpus, stage, recompute, expert in _candidates(architecture):
        layout = data_parallel_layout(gpus, zero_stage=stage)
        memory = estimate_memory(
            architecture,
            zero_stage=stage,
            layout=replace(layout, expert=expert),
            precision=precision,
            micro_batch_size=1,
            sequence_length=sequence_length,
            gpu=True,
            recompute=recompute,
        )
        if memory.total <= USABLE * gpu_memory_bytes:
            return Pool(gpus, stage, recompute, expert, memory.total)
    return None


def _candidates(architecture: Architecture) -> Iterator[tuple[int, int, bool, int]]:
    """Experts are spread last, and over no more GPUs than have one each."""
    experts = architecture.moe.n_routed_experts if architecture.moe else 1
    gpus = 1
    while gpus <= MAX_GPUS:
        degrees = [degree for degree in _EXPERT_DEGREES if degree <= gpus and experts % degree == 0]
        for degree in degrees:
            for recompute in (False, True):
                yield from ((gpus, stage, recompute, degree) for stage in ((0,) if gpus == 1 else (0, 2, 3)))
        gpus *= 2
