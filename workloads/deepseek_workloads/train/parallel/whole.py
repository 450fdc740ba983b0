"""The whole weights of a model whose layers lie on different ranks, to rank 0.

Models whose ranks all have every name need none of this (`export.gather`).
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from deepseek_workloads.plan.layout import Layout, Place

Described = tuple[str, torch.Size, torch.dtype]


def gather_stages(model: nn.Module, layout: Layout, place: Place, device: torch.device) -> dict[str, Tensor]:
    """A collective. Rank 0 gets every tensor whole on the CPU, one in transit at a time; the others get
    nothing. Of what two stages hold it takes the last one's."""
    state: dict[str, Tensor] = {}
    for stage in range(layout.pipeline):
        leader = stage * layout.stage
        tensors = model.state_dict() if place.pipeline == stage else {}
        described: list[list[Described] | None] = [
            [(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]
        ]
        dist.broadcast_object_list(described, src=leader, device=device)
        for name, shape, dtype in described[0] or []:
            mine = tensors.get(name)
            whole = _whole(mine) if mine is not None else torch.empty(shape, dtype=dtype, device=device)
            if leader != 0 and dist.get_rank() == leader:
                dist.send(whole.contiguous(), dst=0)
            elif leader != 0 and dist.get_rank() == 0:
                dist.recv(whole, src=leader)
            if dist.get_rank() == 0:
                state[name] = whole.cpu()
    return state


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
