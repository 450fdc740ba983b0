"""Which rank writes which piece of the state: torch's planner, over the ranks that write.

What several ranks hold is written by one of them. A plan holds as long as names, shapes and dtypes do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, WriteItem

from deepseek_workloads.train.group import portable
from deepseek_workloads.train.writer_ranks import WriterRanks

Signature = tuple[tuple[str, tuple[int, ...], str], ...]


@dataclass(frozen=True)
class WritePlan:
    items: tuple[WriteItem, ...]  # this rank's
    metadata: Metadata | None  # rank 0's: of all tensors


def signature(tensors: Mapping[str, Tensor]) -> Signature:
    """What a plan depends on."""
    return tuple((name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items())


def make_plan(tensors: Mapping[str, Tensor], ranks: WriterRanks) -> WritePlan:
    """A collective. Raises on every rank what fails on rank 0."""
    planner = DefaultSavePlanner(flatten_state_dict=False)
    planner.set_up_planner(dict(tensors), is_coordinator=ranks.rank == 0)
    plans = ranks.gather(planner.create_local_plan())
    metadata: Metadata | None = None
    answers: list[SavePlan | Exception] = []
    if ranks.rank == 0:
        try:
            global_plan, metadata = planner.create_global_plan(plans)
            answers = list(global_plan)
        except Exception as error:
            answers = [portable(error)] * len(plans)
    own: SavePlan | Exception = ranks.scatter(answers)
    if isinstance(own, Exception):
        raise own
    return WritePlan(tuple(planner.finish_plan(own).items), metadata)
