"""The process groups of a layout, as device meshes over one world. It does not know models."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from deepseek_workloads.plan.layout import Layout, Place


@dataclass(frozen=True)
class Meshes:
    """Of one rank. A group of one rank is there too, so that no caller has to ask."""

    layout: Layout
    place: Place
    data: DeviceMesh  # copies and shards of what is not an expert: what fully_shard takes
    expert_data: DeviceMesh  # copies and shards of experts
    tensor: DeviceMesh
    expert: DeviceMesh
    context: dist.ProcessGroup
    pipeline: dist.ProcessGroup


def make_meshes(layout: Layout, *, rank: int, device: torch.device) -> Meshes:
    """A collective of all ranks. Every mesh is a view of one root: fully_shard joins a shard's mesh with that
    of a slice only where both have the same."""
    root = init_device_mesh(device.type, (layout.world_size,), mesh_dim_names=("world",))
    dense = root._unflatten(0, layout.dense, ("pipeline", "copies", "shards", "tensor"))
    experts = root._unflatten(
        0, layout.experts, ("expert_stages", "expert_copies", "expert_shards", "expert")
    )
    inner = (layout.pipeline * layout.data, layout.context, layout.tensor)
    context = root._unflatten(0, inner, ("outside", "context", "inside"))["context"]
    return Meshes(
        layout=layout,
        place=layout.place(rank),
        data=_sharding(dense, "copies", "shards"),
        expert_data=_sharding(experts, "expert_copies", "expert_shards"),
        tensor=dense["tensor"],
        expert=experts["expert"],
        context=context.get_group(),
        pipeline=dense["pipeline"].get_group(),
    )


def _sharding(mesh: DeviceMesh, copies: str, shards: str) -> DeviceMesh:
    """Two dimensions mean copies of shards to fully_shard, one means shards alone."""
    return mesh[copies, shards] if mesh[copies].size() > 1 else mesh[shards]
