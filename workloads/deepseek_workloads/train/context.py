"""What surrounds a rank: its place in the group, its epoch of the commit log, and what it must listen to.

`launch` builds it (under Ray, or in one process); `loop.train` uses it and knows nothing of who started it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, Writer
from deepseek_workloads.train.monitor import Monitor
from deepseek_workloads.train.replicas.folder import MemoryReplicas

if TYPE_CHECKING:  # a launcher imports torch when it has told its coordinator that it is there
    import torch

    from deepseek_workloads.train.group import Group


def draining_by_file(path: Path = Path(environment.DRAIN_FILE)) -> Callable[[], bool]:
    """True once this pod's supervisor was told to end; one stat() a call."""
    return path.exists


def join_torch_group(rank: int, world_size: int, device: "torch.device") -> "Group":
    from deepseek_workloads.train.group import torch_group

    return torch_group(rank, world_size, device)


@dataclass(frozen=True)
class TrainContext:
    rank: int
    world_size: int
    local_rank: int
    open_store: Callable[[Storage], ObjectStore]
    """Opens storage with the credentials of this process; tests put faults in between."""
    begin_epoch: Callable[[CommitLog], Writer]
    """Called once, by rank 0, before it trains: from here on older groups cannot commit. Raises Fenced."""
    monitor: Monitor
    draining: Callable[[], bool]
    """This pod must end soon (SIGTERM: preemption, drain, deletion). Ranks see it at different steps: they
    agree by a collective, write a checkpoint and raise `Preempted`."""
    join_group: Callable[[int, int, "torch.device"], "Group"] = join_torch_group
    """From rank, world size and device; what joins the ranks is initialised by the launcher before."""
    memory: MemoryReplicas | None = None
    """Where this pod keeps files of checkpoints; None: nowhere."""


class Preempted(Exception):
    """The group wrote its checkpoint and ends, because a pod of it is being drained: not a failure."""
