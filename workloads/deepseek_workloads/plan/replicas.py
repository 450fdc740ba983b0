"""What copies of a checkpoint in the memory of the worker pods take (`checkpoint.memoryReplicas`), and where
they are possible. Pure.
"""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.estimate import checkpoint_bytes_of_rank
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

FIELD = "spec.checkpoint.memoryReplicas"
_UNEVEN = 1.25  # files are spread over the ranks by tensors: some pods have more than others
_AT_LEAST = 256 * 2**20


def replica_bytes(run: TrainingRun) -> int:
    """Of one pod, estimated. Of Horovod's ranks one writes."""
    writers = run.workers.num_proc_per_node if run.backend == "ray" else 1
    return (run.checkpoint.memory_replicas or 0) * writers * checkpoint_bytes_of_rank(run)


def replica_limit(run: TrainingRun) -> int:
    """What a pod may take at most, in whole MiB; 0: it keeps nothing. What does not fit is left out."""
    if run.checkpoint.memory_replicas is None:
        return 0
    return -(-int(_UNEVEN * replica_bytes(run) + _AT_LEAST) // 2**20) * 2**20


def memory_replicas(run: TrainingRun) -> Iterator[Problem]:
    """Whether it is known how much memory they take, and whether there is another pod for the second copy."""
    copies = run.checkpoint.memory_replicas
    if copies is None:
        return
    own = {"spec.model.function": run.model_function, "spec.training.entrypoint": run.training.entrypoint}
    for field, code in own.items():
        if code is not None:
            why = f"does not go with {field} {code!r}: nobody knows the size of its checkpoints before"
            yield Problem(FIELD, str(copies), why, "leave it away", INVALID_TRAINING)
    if copies == 2 and run.backend == "horovod":
        why = "rank 0 writes the whole checkpoint with backend horovod, and its pod alone keeps it"
        yield Problem(FIELD, "2", why, "use 1", INVALID_TRAINING)
    elif copies == 2 and run.workers.num_nodes == 1:
        why = "numNodes is 1: there is no other pod for a second copy"
        yield Problem(FIELD, "2", why, "use 1, or more nodes", INVALID_TRAINING)
