"""Experts that ranks share: each token travels to the ranks of its experts and back (all-to-all).

Ranks with the same tokens (tensor slices) first divide them, so that no product is made twice. What a rank
holds is whole experts, whose gradients are sums over all tokens that came. While tokens are on their way to
experts, and their gradients back, a rank computes the experts that every token passes.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import Shard, distribute_tensor

from deepseek_workloads.model.block import MixtureOfExperts
from deepseek_workloads.model.experts import RoutedExperts, Work, nothing, permuted, spread
from deepseek_workloads.model.grouped_network import Sorting
from deepseek_workloads.plan.layout import Layout
from deepseek_workloads.train.parallel.collectives import all_rows, exchanged, own_rows
from deepseek_workloads.train.parallel.gradients import own_part
from deepseek_workloads.train.parallel.kinds import become
from deepseek_workloads.train.parallel.meshes import Meshes


def share_experts(layers: nn.Module, meshes: Meshes) -> None:
    """In place, in every mixture below `layers`. The number of experts is a multiple of the degree."""
    for module in list(layers.modules()):
        if isinstance(module, MixtureOfExperts):
            become(module.experts, SharedExperts).share(meshes)


def correct_expert_gradients(layers: nn.Module, layout: Layout) -> None:
    """After the last pass of a step. A loss is a mean over the ranks that read samples or positions of their
    own, stage / tensor; the gradients of shared experts were divided by the ranks that hold the same ones,
    stage / expert."""
    if layout.tensor == layout.expert:
        return
    for module in layers.modules():
        if isinstance(module, SharedExperts):
            own = [own_part(p.grad) for p in module.parameters() if p.grad is not None]
            if own:  # of what is frozen there are none
                torch._foreach_mul_(own, layout.tensor / layout.expert)


class SharedExperts(RoutedExperts):
    """Rank r of the expert group holds experts r * E / ranks and those that follow."""

    def share(self, meshes: Meshes) -> None:
        self._expert_group, self._tensor_group = meshes.expert.get_group(), meshes.tensor.get_group()
        if meshes.layout.expert == 1:
            return
        for name, parameter in list(self.named_parameters()):
            sliced = distribute_tensor(parameter.data, meshes.expert, [Shard(0)], src_data_rank=None)
            self.register_parameter(name, nn.Parameter(sliced, requires_grad=parameter.requires_grad))

    def forward(
        self, tokens: Tensor, chosen: Tensor, weights: Tensor, counts: Tensor, meanwhile: Work = nothing
    ) -> Tensor:
        """As `RoutedExperts.forward`: whole copies in, a whole copy out."""
        group = self._tensor_group
        if group.size() == 1:
            return super().forward(tokens, chosen, weights, counts, meanwhile)
        mine = own_rows(chosen, group)
        own_counts = torch.bincount(mine.flatten(), minlength=counts.numel())[: counts.numel()]
        own = own_rows(tokens, group), mine, own_rows(weights, group)
        mixed = super().forward(*own, own_counts, meanwhile)
        return all_rows(mixed, group, rows=tokens.shape[0])

    def _products(
        self, rows: Tensor, factors: Tensor, counts: Tensor, sorting: Sorting | None, meanwhile: Work
    ) -> Tensor:
        group = self._expert_group
        if group.size() == 1:
            return super()._products(rows, factors, counts, sorting, meanwhile)
        grouped = rows if sorting is None else spread(rows, sorting)
        to, of, received = _agreed(counts, group)
        arrived_factors = exchanged(factors, to=to, of=of, group=group)
        arrived = exchanged(grouped, to=to, of=of, group=group, meanwhile=meanwhile)
        # They come by sender, and by expert within: the products want them by expert.
        local = received.shape[1]
        experts = torch.arange(local, device=counts.device).repeat(group.size())
        by_expert = Sorting.of(experts.repeat_interleave(received.flatten(), output_size=sum(of)))
        sorted_rows, sorted_factors = (permuted(part, *by_expert) for part in (arrived, arrived_factors))
        outputs = super()._products(sorted_rows, sorted_factors, received.sum(0), None, nothing)
        returned = permuted(outputs, by_expert.back, by_expert.order)
        return exchanged(returned, to=of, of=to, group=group)


def _agreed(counts: Tensor, group: dist.ProcessGroup) -> tuple[list[int], list[int], Tensor]:
    """`counts` [E] of this rank's rows -> how many it sends to each rank, how many it gets of each, and
    int64 [ranks, experts of a rank]: those that it gets, by sender and expert."""
    sent = counts.view(group.size(), -1)
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent.contiguous(), group=group)
    to, of = torch.stack([sent.sum(1), received.sum(1)]).tolist()
    return to, of, received
