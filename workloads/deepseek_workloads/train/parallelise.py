"""Spreads a model over ranks: one copy each, or shards of it. It does not know losses or optimizers.

zeroStage 0: every rank has everything, gradients are averaged (by DistributedDataParallel, or by the group).
zeroStage 1-3: weights, gradients and optimizer states are kept in shards (FSDP2), and
    1: gradients are whole until the last pass of a step, 2: they are reduced in every pass,
    3: weights are whole only around the layer that runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.train.group import GradientAverage, Group


@dataclass(frozen=True)
class ParallelModel:
    """`module` is what is called; `plain` the same parameters under their own names."""

    module: nn.Module
    plain: DeepseekV3ForCausalLM
    autocast: torch.dtype | None  # what the passes compute in, where the shards do not decide it
    reduce_in_every_pass: bool
    average: GradientAverage | None = None  # the group's, where `module` averages nothing

    @contextmanager
    def one_pass(self, *, last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch; `last`: gradients must be complete after it."""
        if self.average is not None:
            with self.average.one_pass(last=last):
                yield
            return
        if isinstance(self.module, FSDPModule):
            if not self.reduce_in_every_pass:
                self.module.set_requires_gradient_sync(last)
            yield
            return
        replicas = isinstance(self.module, DistributedDataParallel)
        with self.module.no_sync() if replicas and not last else nullcontext():  # type: ignore[operator]
            yield

    def release(self) -> None:
        """Frees whole weights that a forward pass without a backward pass has left."""
        for module in self.module.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def compute(self, device: torch.device) -> torch.autocast | nullcontext[None]:
        """Around forward alone."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.autocast)


def parallelise(
    architecture: Architecture, parallelism: Parallelism, *, precision: str, group: Group
) -> ParallelModel:
    """A model without values yet: `init_weights` or a checkpoint gives them. `precision` is fp32 or bf16;
    weights, gradients and optimizer states are float32 in both."""
    compute = torch.bfloat16 if precision == "bf16" else None
    if group.world_size == 1 or parallelism.zero_stage == 0:
        with group.device:
            plain = DeepseekV3ForCausalLM(architecture)
        module = _replicate(plain) if group.torch_distributed else plain
        average = group.gradient_average(plain.parameters())
        return ParallelModel(module, plain, compute, reduce_in_every_pass=False, average=average)
    plain = _shard(architecture, parallelism, compute, group)
    return ParallelModel(plain, plain, None, reduce_in_every_pass=parallelism.zero_stage >= 2)


def _replicate(plain: nn.Module) -> nn.Module:
    # The routers' are the only buffers, and every rank moves them alike: broadcasting them would only cost.
    return DistributedDataParallel(plain, forward_sync_buffers=False, gradient_as_bucket_view=True)


def _shard(
    architecture: Architecture, parallelism: Parallelism, compute: torch.dtype | None, group: Group
) -> DeepseekV3ForCausalLM:
    """Made without memory first, so that no rank ever holds the whole model. Tied weights would be untied by
    that, so such a model is made whole."""
    tied = architecture.tie_word_embeddings
    with group.device if tied else torch.device("meta"):
        model = DeepseekV3ForCausalLM(architecture)
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32 if compute else None)
    mesh = init_device_mesh(group.device.type, (group.world_size,), mesh_dim_names=("data",))
    keep = parallelism.zero_stage < 3
    for layer in model.layers():
        fully_shard(layer, mesh=mesh, reshard_after_forward=not keep, mp_policy=policy)
    fully_shard(model, mesh=mesh, reshard_after_forward=False, mp_policy=policy)
    if not tied:
        model.to_empty(device=group.device)
    return model
