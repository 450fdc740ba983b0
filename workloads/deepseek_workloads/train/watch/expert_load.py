"""Which expert of a step is the busiest. Of what routers chose, the same on every rank."""

import torch
from torch import Tensor


def busiest(counts: Tensor) -> Tensor:
    """`counts` int64 [mixture layers, E]: the choices of one global batch. -> float64 [3] on their device:
    the largest load of an expert over the mean of its layer, the row of that layer, and the expert. 1, -1 and
    -1 where there is no mixture."""
    if counts.numel() == 0:
        return torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64, device=counts.device)
    loads = counts.double() / counts.double().mean(dim=1, keepdim=True).clamp(min=1)
    place = loads.flatten().argmax()
    experts = counts.shape[1]
    return torch.stack([loads.flatten()[place], (place // experts).double(), (place % experts).double()])
