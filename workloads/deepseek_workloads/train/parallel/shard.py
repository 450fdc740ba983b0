"""FSDP2 and HSDP over the meshes of a layout: who stores which shard, and what gradients are divided by.

zeroStage 0 under another degree is a copy on every rank: one shard, whose gradients are averaged over copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor, Shard

from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.train.parallel.expert import SharedExperts
from deepseek_workloads.train.parallel.meshes import Meshes


@dataclass(frozen=True)
class Sharding:
    """How the units of a model are stored and computed."""

    meshes: Meshes
    policy: MixedPrecisionPolicy
    offload: OffloadPolicy
    free_after_forward: bool

    def apply(self, root: nn.Module, layers: Sequence[nn.Module]) -> None:
        """In place: each of the `layers` below `root` is a unit, the rest of the root another."""
        for layer in layers:
            for module in layer.modules():
                if isinstance(module, SharedExperts):
                    self._experts(module)
            self._unit(layer, free=self.free_after_forward)
        self._unit(root, free=False)

    def _unit(self, module: nn.Module, *, free: bool) -> None:
        fully_shard(
            module,
            mesh=self.meshes.data,
            reshard_after_forward=free,
            mp_policy=self.policy,
            offload_policy=self.offload,
            shard_placement_fn=self._dense_placement,
        )

    def _experts(self, experts: nn.Module) -> None:
        fully_shard(
            experts,
            mesh=self.meshes.expert_data,
            reshard_after_forward=self.free_after_forward,
            mp_policy=self.policy,
            offload_policy=self.offload,
            shard_placement_fn=self._expert_placement,
        )

    def _dense_placement(self, parameter: nn.Parameter) -> Shard | None:
        """A matrix whose rows are sliced has shards of its columns where they come out even: slices of slices
        lie apart in a checkpoint otherwise."""
        return _even_shard(parameter, self.meshes.layout.dense[2])

    def _expert_placement(self, parameter: nn.Parameter) -> Shard | None:
        return _even_shard(parameter, self.meshes.layout.experts[2])


def _even_shard(parameter: nn.Parameter, shards: int) -> Shard | None:
    """None: dimension 0, as ever."""
    if not isinstance(parameter.data, DTensor) or Shard(0) not in parameter.data.placements:
        return None
    local = parameter.data.to_local().shape
    even = [dim for dim in range(1, len(local)) if local[dim] % shards == 0]
    return Shard(even[0]) if even else None


def sharding_of(parallelism: Parallelism, meshes: Meshes, *, compute: torch.dtype | None) -> Sharding:
    """`compute`: what the passes compute in; None is as the weights are. Gradients are reduced in float32."""
    return Sharding(
        meshes=meshes,
        policy=MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32 if compute else None),
        offload=CPUOffloadPolicy() if parallelism.cpu_offload else OffloadPolicy(),
        # A pipeline's schedule gathers a stage's weights when it needs them and frees them when it is idle.
        free_after_forward=parallelism.zero_stage == 3 and meshes.layout.pipeline == 1,
    )
