"""Structured pruning by L1 norm: of gated networks the inner channels that weigh least are closed for good.

A channel is a row of gate and up and a column of down; its norm is the sum over the three. At one step the
share that is asked for is closed in each network (in each expert by itself), and stays closed: the masks are
part of a checkpoint and are laid over the weights after every update. An export has zeros there.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from deepseek_workloads.contract.objective import Pruning
from deepseek_workloads.model.block import FeedForward
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.plan.modules import examples, fitting
from deepseek_workloads.train.refused import SettingRefused

_Network = FeedForward | RoutedExperts
_PREFIX = "open_channels."


class ChannelPruning:
    """A `StatePart`; works on plain tensors and on shards. What it calculates is the same on every rank."""

    needed: Final = True

    def __init__(self, model: nn.Module, config: Pruning) -> None:
        self._config = config
        networks = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, FeedForward | RoutedExperts)
        }
        self._networks: dict[str, _Network] = {
            name: networks[name] for name in fitting(networks, config.modules)
        }
        if not self._networks:
            raise SettingRefused(
                f"spec.training.pruning.modules: {config.modules}: fit no gated network: use patterns of "
                f"names such as {examples(networks)}"
            )
        self._open = {
            name: torch.ones(_channels(network), dtype=torch.uint8)
            for name, network in self._networks.items()
        }

    def state(self) -> dict[str, Tensor]:
        return {f"{_PREFIX}{name}": mask for name, mask in self._open.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._open = {name.removeprefix(_PREFIX): mask.to(torch.uint8) for name, mask in state.items()}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Of every step, after its update, taken or not. A collective at the one that closes channels."""
        if step == self._config.at_step:
            self._open = {name: self._chosen(network) for name, network in self._networks.items()}
        for name, network in self._networks.items():
            if not self._open[name].all():
                _lay_over(network, self._open[name])

    def _chosen(self, network: _Network) -> Tensor:
        """uint8 [..., I], 1 where a channel stays open; ties go by their place."""
        norms = channel_norms(network).cpu()
        closed = int(norms.shape[-1] * self._config.sparsity)
        order = norms.argsort(dim=-1, stable=True)[..., :closed]
        return torch.ones_like(norms, dtype=torch.uint8).scatter_(-1, order, 0)


def channel_norms(network: _Network) -> Tensor:
    """[I], or [E, I] of experts."""
    if isinstance(network, FeedForward):
        rows = _norm(network.gate_proj.weight, -1) + _norm(network.up_proj.weight, -1)
        return rows + _norm(network.down_proj.weight, -2)
    gate, up = _norm(network.gate_up_proj, -1).chunk(2, dim=-1)
    return gate + up + _norm(network.down_proj, -2)


def _norm(weight: Tensor, dim: int) -> Tensor:
    norm = weight.abs().sum(dim)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _channels(network: _Network) -> tuple[int, ...]:
    if isinstance(network, FeedForward):
        return (network.down_proj.weight.shape[-1],)
    return (network.down_proj.shape[0], network.down_proj.shape[-1])


def _lay_over(network: _Network, mask: Tensor) -> None:
    for weight, shaped in _masked(network, mask):
        if isinstance(weight, DTensor):
            whole = shaped.to(weight.device, weight.dtype).expand(weight.shape)
            weight.mul_(distribute_tensor(whole, weight.device_mesh, weight.placements, src_data_rank=None))
        else:
            weight.mul_(shaped.to(weight.device, weight.dtype))


def _masked(network: _Network, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each matrix, and its mask in a shape that broadcasts."""
    if isinstance(network, FeedForward):
        yield network.gate_proj.weight, mask.unsqueeze(-1)
        yield network.up_proj.weight, mask.unsqueeze(-1)
        yield network.down_proj.weight, mask.unsqueeze(-2)
    else:
        yield network.gate_up_proj, torch.cat([mask, mask], dim=-1).unsqueeze(-1)
        yield network.down_proj, mask.unsqueeze(-2)
