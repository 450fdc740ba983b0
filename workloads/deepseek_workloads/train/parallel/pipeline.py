"""Pipeline parallelism: a rank has some of the layers, and micro-batches pass through the ranks.

The schedules are torch.distributed.pipelining's; it does not know what a stage computes
(`train.parallel.stage`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import (
    PipelineScheduleSingle,
    _PipelineSchedule,
    get_schedule_class,
)

from deepseek_workloads.contract.run_config import PipelineSchedule
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.plan.pipeline import Stage
from deepseek_workloads.train.parallel.stage import EmbeddingCopies, StageModule, Tally


@dataclass
class Pipeline:
    """Of one rank. `modules` are its stages' modules, by their order."""

    group: dist.ProcessGroup
    stages: Sequence[Stage]  # of all ranks
    modules: Sequence[StageModule]
    schedule: PipelineSchedule
    hidden_size: int
    dtype: torch.dtype  # of what travels
    device: torch.device
    copies: EmbeddingCopies | None = None  # of this rank
    _made: tuple[tuple[int, ...], _PipelineSchedule] | None = None
    _names: list[str] = field(default_factory=list)  # of the losses of all stages

    def train(self, input_ids: Tensor, labels: Tensor, *, passes: int, scale: float = 1.0) -> Tally:
        """Forward and backward of int64 [passes * b, T]: `passes` micro-batches. Gradients are complete
        afterwards, `scale` times those of the mean loss; the result is of this rank's stages."""
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        tally = Tally(zero, {name: zero.clone() for name in self._names})
        for module in self.modules:
            module.tally, module.share, module.scale = tally, 1 / passes, scale
        schedule = self._schedule(input_ids.shape, passes)
        arguments = (input_ids,) if any(module.stage.first for module in self.modules) else ()
        target = labels if any(module.stage.last for module in self.modules) else None
        try:
            schedule.step(*arguments, target=target, input_ids=input_ids, labels=labels, return_outputs=False)
        finally:
            for module in self.modules:
                module.tally = None
        if self.copies is not None:
            self.copies.sum_gradients()
        self._agree_on_names(tally)
        return tally

    def _agree_on_names(self, tally: Tally) -> None:
        """Ranks sum their losses by name, and not every stage has every one; they stay the same all run."""
        if self._names:
            return
        of_ranks: list[Any] = [None] * self.group.size()
        dist.all_gather_object(of_ranks, sorted(tally.auxiliary), group=self.group)
        self._names = sorted({name for names in of_ranks for name in names})
        for name in self._names:
            tally.auxiliary.setdefault(name, torch.zeros_like(tally.loss))

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        start: int | Tensor = 0,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor:
        """Without gradients and without overlap: logits, or the loss with `labels`, on every rank."""
        own = {module.stage.index: module for module in self.modules}
        me, result = self.group.rank(), torch.empty(0)
        hidden = input_ids
        for stage, following in zip(self.stages, [*self.stages[1:], None], strict=True):
            if stage.rank != me:
                continue
            before = None if stage.first else self.stages[stage.index - 1].rank
            if before is not None and before != me:
                hidden = torch.empty(*input_ids.shape, self.hidden_size, dtype=self.dtype, device=self.device)
                dist.recv(hidden, group=self.group, group_src=before)
            hidden = own[stage.index](hidden, None, labels, start, caches)
            if following is not None and following.rank != me:
                dist.send(hidden.contiguous(), group=self.group, group_dst=following.rank)
            result = hidden
        return self._from_last(result)

    def _from_last(self, result: Tensor) -> Tensor:
        box: list[Any] = [(tuple(result.shape), result.dtype)]
        last = self.stages[-1].rank
        dist.broadcast_object_list(box, group=self.group, group_src=last, device=self.device)
        shape, dtype = box[0]
        if self.group.rank() != last:
            result = torch.empty(shape, dtype=dtype, device=self.device)
        result = result.contiguous()
        dist.broadcast(result, group=self.group, group_src=last)
        return result

    def _schedule(self, shape: torch.Size, passes: int) -> _PipelineSchedule:
        """Made anew where the shape of a micro-batch or their number has changed."""
        key = (passes, *shape)
        if self._made is None or self._made[0] != key:
            self._made = (key, self._make(shape, passes))
        return self._made[1]

    def _make(self, shape: torch.Size, passes: int) -> _PipelineSchedule:
        rows, length = shape[0] // passes, shape[1]
        made = [self._torch_stage(module, rows, length) for module in self.modules]
        kind = get_schedule_class(self.schedule)
        options = {"n_microbatches": passes, "loss_fn": _loss, "scale_grads": False}
        schedule: _PipelineSchedule = kind(
            made[0] if issubclass(kind, PipelineScheduleSingle) else made, **options
        )
        return schedule

    def _torch_stage(self, module: StageModule, rows: int, length: int) -> PipelineStage:
        stage, meta = module.stage, torch.device("meta")
        hidden = torch.empty(
            rows, length, self.hidden_size, dtype=self.dtype, device=meta, requires_grad=True
        )
        ids = torch.empty(rows, length, dtype=torch.int64, device=meta)
        loss = torch.empty((), dtype=self.dtype, device=meta, requires_grad=True)
        return PipelineStage(
            module,
            stage.index,
            len(self.stages),
            self.device,
            input_args=ids if stage.first else hidden,
            output_args=loss if stage.last else hidden,
            group=self.group,
        )


def _loss(output: Tensor, _target: Tensor) -> Tensor:
    """The last stage's module has made it."""
    return output
