"""What ranks do in these tests: real steps of the trainer, whose whole gradients rank 0 gives back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.tensor import DTensor
from training_cases import run_config, train_alone

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.contract.run_config import Parallelism, TrainingRun
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.held_out import HeldOutReader
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.rows import Rows
from deepseek_workloads.data.stream import Batch
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.adapt import checkpoint_activations
from deepseek_workloads.train.compile import compile_layers
from deepseek_workloads.train.evaluate import evaluate
from deepseek_workloads.train.group import torch_group
from deepseek_workloads.train.loss_scale import LossScale
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.parallel.collectives import exchanged
from deepseek_workloads.train.parallelise import ParallelModel, parallelise
from deepseek_workloads.train.prompts import Prompt, continuations
from deepseek_workloads.train.trainer import StepResult, Trainer

SEQUENCES, LENGTH = 16, 16  # of a global batch
ARCHITECTURE = Architecture(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=12,
    qk_rope_head_dim=8,
    v_head_dim=10,
    max_position_embeddings=64,
    moe=MoE(
        n_routed_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=24,
        n_group=4,
        topk_group=2,
        first_k_dense_replace=1,
        bias_update_speed=0.01,
        sequence_balance_loss_weight=0.1,
    ),
)

AHEAD = ARCHITECTURE.model_copy(update={"num_nextn_predict_layers": 1})
_ALONE = Parallelism()


@dataclass(frozen=True)
class Steps:
    """Some steps of a run."""

    parallelism: Parallelism = _ALONE
    architecture: Architecture = ARCHITECTURE
    dtype: torch.dtype = torch.float64
    precision: str = "fp32"
    steps: int = 1
    micro_batch_size: int = 1
    learning_rate: float = 1e-3
    clip_norm: float = 1e9
    unreachable: tuple[int, ...] = ()  # experts that no token chooses
    recomputed: Literal["none", "selective", "full"] = "none"
    scaled: bool = False  # the loss, and its gradients back
    compiler: str | None = None  # torch.compile's backend


@dataclass(frozen=True)
class Observed:
    losses: list[float]
    auxiliary: list[dict[str, float]]
    norms: list[float]
    loads: list[float]
    busiest: list[tuple[int, int] | None]  # layer and expert
    sample_ids: list[tuple[int, ...]]
    gradients: dict[str, Tensor]  # of the last step, whole
    weights: dict[str, Tensor]  # and buffers, after it


def take_steps(rank: int, ranks: int, steps: Steps) -> Observed | None:
    group = torch_group(rank, ranks, torch.device("cpu"))
    with _default_dtype(steps.dtype):
        model = parallelise(
            steps.architecture,
            steps.parallelism,
            precision=steps.precision,
            group=group,
            adapt=lambda model: _adapt(model, steps),
        )
    model.plain.init_weights(3)
    for mixture in model.plain.mixtures() if steps.unreachable else ():
        mixture.gate.e_score_correction_bias[list(steps.unreachable)] -= 10.0
    optimizer = build_optimizer(model.plain, Optimizer(learning_rate=steps.learning_rate))
    trainer = Trainer(
        model,
        optimizer,
        group,
        samples_per_step=SEQUENCES // model.layout.data,
        clip_norm=steps.clip_norm,
        seed=1,
        loss_scale=LossScale() if steps.scaled else None,
    )
    results = [
        trainer.step(
            step,
            _batches(model, rank, step, steps),
            learning_rate=steps.learning_rate,
            accept=lambda _result: True,
        )
        for step in range(1, steps.steps + 1)
    ]
    return _observed(model, results)


def _adapt(model: DeepseekV3ForCausalLM, steps: Steps) -> None:
    checkpoint_activations(model.layers(), steps.recomputed)
    if steps.compiler is not None:
        shared = steps.parallelism.expert_parallel_degree > 1
        compile_layers(model.layers(), shared_experts=shared, backend=steps.compiler)


def train_run(rank: int, ranks: int, document: bytes) -> bytes:
    """A whole run as launchers start it; the verdict as JSON."""
    run = TrainingRun.model_validate_json(document)
    return train_alone(run, rank=rank, world_size=ranks).to_json()


def _batches(model: ParallelModel, rank: int, step: int, steps: Steps) -> list[Batch]:
    """Of this rank: its slice of one of two global batches, which can be learnt by heart."""
    generator = torch.Generator().manual_seed(step % 2)
    rows = torch.randint(steps.architecture.vocab_size, (SEQUENCES, LENGTH + 1), generator=generator)
    size = SEQUENCES // model.layout.data
    first = model.layout.data_rank(rank) * size
    batches = []
    for start in range(first, first + size, steps.micro_batch_size):
        end = min(start + steps.micro_batch_size, first + size)
        ids = [step * SEQUENCES + index for index in range(start, end)]
        mine = Rows(rows[start:end], rows[start:end, 1:])
        batches.append(Batch(mine, ids, ids[0], end == first + size))
    return batches


@dataclass(frozen=True)
class Measured:
    """A model that has learnt nothing, on held-out text."""

    dataset: str  # URI
    parallelism: Parallelism = _ALONE
    samples: int = 31  # of 16 tokens


def measured(rank: int, ranks: int, wanted: Measured) -> dict[str, float]:
    group = torch_group(rank, ranks, torch.device("cpu"))
    data = run_config("file:///unused", wanted.dataset).data
    store = open_store(data.sources[0].storage, environ={})
    reader = HeldOutReader(SamplePlan(data, [load_manifest(store, None)]), [store])
    with _default_dtype(torch.float64):
        model = parallelise(AHEAD, wanted.parallelism, precision="fp32", group=group)
        model.plain.init_weights(3)
        return evaluate(model, group, held_out=reader, micro_batch_size=2, max_samples=wanted.samples)


def measured_without_a_call_of_the_head(rank: int, ranks: int, wanted: Measured) -> dict[str, float]:
    """A loss that is computed from the head's weight alone."""

    def passed_by(_model: ParallelModel, _ids: Tensor, _labels: Tensor) -> Tensor:
        return torch.zeros(())

    with patch.object(ParallelModel, "loss", passed_by):
        return measured(rank, ranks, wanted)


@dataclass(frozen=True)
class Asked:
    """Prompts of a model that has learnt nothing."""

    prompts: tuple[tuple[int, ...], ...]
    parallelism: Parallelism = _ALONE
    eos_token_id: int = -1  # no token
    max_new_tokens: int = 6


@dataclass(frozen=True)
class Answered:
    of_ranks: list[list[list[int]]]  # by rank and prompt, as each of them knows it
    passes: list[int]  # of whole prompts through the model, by rank


def answer(rank: int, ranks: int, asked: Asked) -> Answered:
    group = torch_group(rank, ranks, torch.device("cpu"))
    with _default_dtype(torch.float64):
        model = parallelise(ARCHITECTURE, asked.parallelism, precision="fp32", group=group)
        model.plain.init_weights(3)
        begun: list[int] = []
        logits = ParallelModel.logits

        def told(model: ParallelModel, ids: Tensor, **places: Any) -> Tensor:
            begun.append(ids.shape[1])
            return logits(model, ids, **places)

        with patch.object(ParallelModel, "logits", told):
            found = continuations(
                model,
                group,
                [Prompt(ids) for ids in asked.prompts],
                eos_token_id=asked.eos_token_id,
                max_new_tokens=asked.max_new_tokens,
            )
    of_ranks: list[Any] = [None] * ranks
    dist.all_gather_object(of_ranks, (found, sum(length > 1 for length in begun)))
    return Answered([answers for answers, _ in of_ranks], [passes for _, passes in of_ranks])


@dataclass(frozen=True)
class Held:
    """By a rank's stages, in a step."""

    passes: int  # that waited for their backward pass at once, of all its stages
    buffers: int  # for what they receive, both ways


def held(rank: int, ranks: int, asked: Steps) -> list[Held]:
    """Of each rank."""
    waiting, most, stages = 0, 0, set()
    forward, backward = PipelineStage.forward_one_chunk, PipelineStage.backward_one_chunk
    of_weights = PipelineStage.backward_weight_one_chunk

    def told_forward(stage: PipelineStage, *arguments: Any, **keywords: Any) -> Any:
        nonlocal waiting, most
        stages.add(stage)
        waiting += 1
        most = max(most, waiting)
        return forward(stage, *arguments, **keywords)

    def told_backward(
        stage: PipelineStage, *arguments: Any, full_backward: bool = True, **keywords: Any
    ) -> Any:
        nonlocal waiting
        waiting -= full_backward
        return backward(stage, *arguments, full_backward=full_backward, **keywords)

    def told_of_weights(stage: PipelineStage, *arguments: Any, **keywords: Any) -> Any:
        nonlocal waiting
        waiting -= 1
        return of_weights(stage, *arguments, **keywords)

    with patch.multiple(
        PipelineStage,
        forward_one_chunk=told_forward,
        backward_one_chunk=told_backward,
        backward_weight_one_chunk=told_of_weights,
    ):
        take_steps(rank, ranks, asked)
    assert waiting == 0
    received = [[*stage.args_recv_info.values(), *stage.grad_recv_info.values()] for stage in stages]
    infos = [info for of_stage in received for of_pass in of_stage for info in of_pass]
    mine = Held(most, sum(info.buffer is not None for info in infos))
    of_ranks: list[Any] = [None] * ranks
    dist.all_gather_object(of_ranks, mine)
    return of_ranks


def order_of_an_exchange(_rank: int, ranks: int, _argument: None) -> list[str]:
    """What happens when, in both passes, while rows travel to as many ranks and their gradients back."""
    events: list[str] = []
    begin = dist.all_to_all_single

    def told(*arguments: Any, **keywords: Any) -> Any:
        events.append("begin")
        work = begin(*arguments, **keywords)
        return SimpleNamespace(wait=lambda: (events.append("wait"), work.wait()))

    rows, beside = torch.randn(2 * ranks, 3, requires_grad=True), []

    def meanwhile() -> None:
        events.append("meanwhile")
        beside.append(rows * 2)
        beside[0].register_hook(lambda _gradient: events.append("its backward pass"))

    sizes = [2] * ranks
    with patch.object(dist, "all_to_all_single", told):
        arrived = exchanged(rows, to=sizes, of=sizes, group=dist.group.WORLD, meanwhile=meanwhile)
        (arrived.sum() + beside[0].sum()).backward()
    return events


def _observed(model: ParallelModel, results: list[StepResult]) -> Observed:
    tensors = [*model.plain.named_parameters(), *model.plain.named_buffers()]
    gradients = {name: _whole(p.grad) for name, p in tensors if p.grad is not None}
    weights = {name: _whole(p.detach()) for name, p in tensors}
    of_ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(of_ranks, (gradients, weights) if model.place.tensor == 0 else ({}, {}))
    return Observed(
        losses=[result.loss for result in results],
        auxiliary=[dict(result.auxiliary) for result in results],
        norms=[result.gradient_norm for result in results],
        loads=[result.expert_load for result in results],
        busiest=[result.busiest for result in results],
        sample_ids=[result.sample_ids for result in results],
        gradients={name: value for parts, _ in of_ranks for name, value in parts.items()},
        weights={name: value for _, parts in of_ranks for name, value in parts.items()},
    )


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
