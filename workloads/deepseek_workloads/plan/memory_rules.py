"""Whether a run's states fit the memory that its workers have. Pure.

Only what cannot fit is refused: activations are estimated, not certain. It does not know what else a node
holds, nor the size of a model of a user's code.
"""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.accelerators import LARGEST_MEMORY, accelerator_of
from deepseek_workloads.plan.estimate import estimate, parameters
from deepseek_workloads.plan.memory import COMPUTE_BYTES, MemoryEstimate
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.replicas import FIELD as MEMORY_REPLICAS_FIELD
from deepseek_workloads.plan.replicas import replica_bytes

INSUFFICIENT_MEMORY = "InsufficientMemory"
_REPLICAS = ", with checkpoint.memoryReplicas,"


def check_memory(run: TrainingRun, *, teacher: Architecture | None = None) -> list[Problem]:
    """Weights, gradients and optimizer states, and a teacher that each rank holds whole: on CPU those of a
    node's ranks against the limit of its pod, on GPUs those of a rank against one GPU (of the product that
    the nodes are chosen by, or the largest there is), and shards by cpuOffload against the pod's. Replicas of
    checkpoints lie in the pod's memory on either."""
    if run.model_function is not None:
        return []
    memory, beside = estimate(run).memory, 0
    if teacher is not None:
        beside = parameters(teacher) * COMPUTE_BYTES[run.training.precision]
    if run.workers.gpus_per_node > 0:
        return [*_gpu(run, memory, beside), *_host(run, memory)]
    return list(_pod(run, memory, beside))


def _pod(run: TrainingRun, memory: MemoryEstimate, beside: int) -> Iterator[Problem]:
    limit, ranks = run.workers.memory_bytes, run.workers.num_proc_per_node
    kept = replica_bytes(run)
    needed = (memory.states + beside) * ranks + kept
    if limit is not None and needed > limit:
        yield Problem(
            field="spec.workers.resources.memory",
            value=_gibibytes(limit),
            rule=(
                "weights, gradients and optimizer states of a node's ranks"
                f"{', a copy for checkpoints' if memory.staged else ''}"
                f"{' and their teachers' if beside else ''}{_REPLICAS if kept else ''} alone need "
                f"{_gibibytes(needed)}"
            ),
            remedy=(
                f"give each worker at least {_gibibytes((memory.total + beside) * ranks + kept)}, more nodes "
                f"with zeroStage 3, {'fewer checkpoint.memoryReplicas, ' if kept else ''}"
                f"{'checkpoint.mode sync, ' if memory.staged else ''}"
                f"or a smaller {'teacher' if beside else 'model'}"
            ),
            reason=INSUFFICIENT_MEMORY,
            needed=needed,
        )


def _gpu(run: TrainingRun, memory: MemoryEstimate, beside: int) -> Iterator[Problem]:
    product = run.workers.gpu_product
    known = accelerator_of(product or "")
    limit = known.memory_bytes if known else LARGEST_MEMORY
    needed = memory.states + beside
    if needed > limit:
        yield Problem(
            field="spec.workers.nodeSelector[nvidia.com/gpu.product]" if known else "spec.workers.numNodes",
            value=product if known and product else str(run.workers.num_nodes),
            rule=(
                f"weights, gradients and optimizer states{' and the teacher' if beside else ''} of a rank "
                f"alone need {_gibibytes(needed)}, and {'such a GPU' if known else 'the largest GPU'} has "
                f"{_gibibytes(limit)}"
            ),
            remedy="use more nodes with zeroStage 3, expertParallelDegree or pipelineParallelDegree, "
            f"cpuOffload, or a smaller {'teacher' if beside else 'model'}",
            reason=INSUFFICIENT_MEMORY,
            needed=needed,
        )


def _host(run: TrainingRun, memory: MemoryEstimate) -> Iterator[Problem]:
    limit, shards = run.workers.memory_bytes, memory.host * run.workers.num_proc_per_node
    kept = replica_bytes(run)
    if limit is None or shards + kept <= limit:
        return
    if kept > limit:
        yield Problem(
            field=MEMORY_REPLICAS_FIELD,
            value=f"workers.resources.memory {_gibibytes(limit)}",
            rule=f"replicas of checkpoints alone need {_gibibytes(kept)} of a worker",
            remedy="give workers more memory, use fewer replicas, or more nodes",
            reason=INSUFFICIENT_MEMORY,
            needed=kept,
        )
        return
    yield Problem(
        field="spec.workers.resources.memory",
        value=_gibibytes(limit),
        rule=f"with cpuOffload the shards of a node's ranks{_REPLICAS if kept else ''} alone need "
        f"{_gibibytes(shards + kept)}",
        remedy="give each worker more, use more nodes, or leave cpuOffload away",
        reason=INSUFFICIENT_MEMORY,
        needed=shards + kept,
    )


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
