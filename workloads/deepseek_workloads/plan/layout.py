"""Which ranks share what: the degrees of a run's layout, and each rank's place in it. Pure.

Ranks are numbered with the pipeline stage outermost and the tensor slice innermost: what talks most lies
nearest. Experts have no ranks of their own: they are spread over those of a stage (of a replica of it, when
weights are sharded). It does not know which layouts a model allows (`layout_rules`).
"""

from dataclasses import dataclass
from math import prod

from deepseek_workloads.contract.run_config import Parallelism


@dataclass(frozen=True)
class Place:
    """Of one rank, in each degree."""

    pipeline: int
    replicate: int
    shard: int
    context: int
    tensor: int


@dataclass(frozen=True)
class Layout:
    pipeline: int = 1  # stages of layers
    replicate: int = 1  # copies of the weights
    shard: int = 1  # data-parallel ranks of one copy
    context: int = 1  # ranks that share each sequence
    tensor: int = 1  # ranks that share each matrix
    expert: int = 1  # ranks that share the experts
    sharded: bool = True  # False: zeroStage 0, every data-parallel rank has a copy

    @property
    def data(self) -> int:
        """Ranks that read samples of their own."""
        return self.replicate * self.shard

    @property
    def stage(self) -> int:
        """Ranks of one pipeline stage."""
        return self.data * self.context * self.tensor

    @property
    def world_size(self) -> int:
        return self.pipeline * self.stage

    @property
    def model_parallel(self) -> bool:
        """Whether ranks share more than samples and the storage of weights."""
        return self.pipeline * self.context * self.tensor * self.expert > 1

    @property
    def dense(self) -> tuple[int, int, int, int]:
        """Stages, copies, shards and tensor slices of what is not an expert; the product is the world. A rank
        of a sequence's share holds a share of the weights, as a data-parallel one does."""
        if self.sharded:
            return self.pipeline, self.replicate, self.shard * self.context, self.tensor
        return self.pipeline, self.data * self.context, 1, self.tensor

    @property
    def experts(self) -> tuple[int, int, int, int]:
        """Stages, copies, shards and expert slices of the experts; the product is the world."""
        if self.sharded:
            return self.pipeline, self.replicate, self.stage // self.replicate // self.expert, self.expert
        return self.pipeline, self.stage // self.expert, 1, self.expert

    @property
    def expert_ranks(self) -> int:
        """What the expert degree must divide."""
        return self.stage // (self.replicate if self.sharded else 1)

    def place(self, rank: int) -> Place:
        rest, tensor = divmod(rank, self.tensor)
        rest, context = divmod(rest, self.context)
        rest, shard = divmod(rest, self.shard)
        pipeline, replicate = divmod(rest, self.replicate)
        return Place(pipeline, replicate, shard, context, tensor)

    def data_rank(self, rank: int) -> int:
        """Which of the `data` slices of a global batch the rank reads."""
        place = self.place(rank)
        return place.replicate * self.shard + place.shard

    def leads_data(self, rank: int) -> bool:
        """One rank of each slice, in the first stage."""
        place = self.place(rank)
        return place.pipeline == place.context == place.tensor == 0


def data_parallel_layout(world_size: int, *, zero_stage: int) -> Layout:
    """Without any other degree."""
    return Layout(shard=world_size) if zero_stage else Layout(replicate=world_size, sharded=False)


def fixed_product(parallelism: Parallelism) -> int:
    """What the world size must be a multiple of: every degree but that of sharding, which takes the rest."""
    return prod(
        (
            parallelism.pipeline_parallel_degree,
            parallelism.data_parallel_replicate_degree,
            parallelism.context_parallel_degree,
            parallelism.tensor_parallel_degree,
        )
    )


def layout_of(parallelism: Parallelism, world_size: int) -> Layout:
    """Raises ValueError where `fixed_product` does not divide the world."""
    fixed = fixed_product(parallelism)
    if world_size % fixed:
        raise ValueError(f"{world_size} ranks: must be a multiple of {fixed}, the product of the degrees")
    rest, sharded = world_size // fixed, parallelism.zero_stage > 0
    return Layout(
        pipeline=parallelism.pipeline_parallel_degree,
        replicate=parallelism.data_parallel_replicate_degree * (1 if sharded else rest),
        shard=rest if sharded else 1,
        context=parallelism.context_parallel_degree,
        tensor=parallelism.tensor_parallel_degree,
        expert=parallelism.expert_parallel_degree,
        sharded=sharded,
    )
