"""Seconds of a step before it is run: products, what a layer costs whatever its size, exchange, bubble. Pure.

A closed form with four numbers, fitted to published rates of training on 8 to 2,048 GPUs. Those rates, and
the error on each when it is left out of the fit, are in `bench/step_time.py`: 9 % in the middle, the worst
two are estimated at 1.6 times and at half. It knows no kernels and no store, and takes experts' loads for
equal.
"""

from dataclasses import dataclass
from typing import Final, Literal

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import PipelineSchedule, TrainingRun
from deepseek_workloads.plan.accelerators import GPUS_PER_NODE, Accelerator
from deepseek_workloads.plan.estimate import Estimate, flops_per_token
from deepseek_workloads.plan.layout import layout_of
from deepseek_workloads.plan.pipeline import STAGES_PER_RANK

_OF_FORWARD = 3  # a step's products over those of its forward pass
_BYTES = 2  # of an activation that travels
_EXCHANGES = 4  # of a layer of experts: there and back, forward and backward
_EXCHANGES_AGAIN = 2  # forward, where layers run again


@dataclass(frozen=True)
class Fitted:
    """What data sheets do not say."""

    product_share: float  # of the peak, that products reach
    expert_layer_seconds: float  # of one pass through a layer of experts, beside its products
    layer_seconds: float  # of one pass through any layer, beside its products
    network_share: float  # of the peak; more than 1 where an exchange hides behind products


# bench/step_time.py prints these. They are of float8; other precisions are taken to reach the same share.
FITTED: Final = Fitted(
    product_share=0.351, expert_layer_seconds=4.86e-3, layer_seconds=4.45e-5, network_share=1.254
)


@dataclass(frozen=True)
class Pass:
    """One micro-batch on its way through all layers, and how many GPUs carry it."""

    sequence_length: int
    sequences: int
    passes: int  # of a step
    pipeline: int = 1
    stages_per_rank: int = 1
    tensor: int = 1
    context: int = 1
    expert: int = 1
    # full: layers run forward again before their backward pass; selective: all but products and attention,
    # so that what is exchanged travels again in both (`train.adapt`)
    recompute: Literal["none", "selective", "full"] = "none"

    @property
    def tokens(self) -> int:
        return self.sequences * self.sequence_length

    @property
    def bubble(self) -> float:
        """Waiting over working, of an interleaved schedule (Narayanan et al. 2021, arXiv:2104.04473)."""
        return (self.pipeline - 1) / (self.stages_per_rank * self.passes)


def tokens_per_second(
    architecture: Architecture, work: Pass, *, precision: str, gpu: Accelerator, fitted: Fitted = FITTED
) -> float:
    """Of one GPU."""
    needed = flops_per_token(architecture, sequence_length=work.sequence_length)
    if work.recompute == "full":
        needed += _forward_of_layers(architecture, work.sequence_length)
    seconds = needed / (gpu.flops(precision) * fitted.product_share)
    shared_by = work.tensor * work.context
    layers = architecture.num_hidden_layers
    seconds += fitted.layer_seconds * layers * shared_by / work.tokens
    if architecture.moe is not None:
        mixtures = layers - architecture.moe.first_k_dense_replace
        seconds += fitted.expert_layer_seconds * mixtures * shared_by / work.tokens
        exchanges = _EXCHANGES + (0 if work.recompute == "none" else _EXCHANGES_AGAIN)
        exchanged = exchanges * _exchange_seconds(architecture, work.expert, gpu)
        seconds += mixtures * exchanged / fitted.network_share
    return 1 / (seconds * (1 + work.bubble))


def estimated_tokens_per_second(run: TrainingRun, needed: Estimate, gpu: Accelerator) -> float:
    """Of the whole run, of which `needed` is the estimate; evaluation and checkpoints aside."""
    parallelism = run.training.parallelism
    layout = layout_of(parallelism, run.workers.world_size)
    schedule: PipelineSchedule = parallelism.pipeline_parallel_schedule
    work = Pass(
        sequence_length=run.data.sequence_length,
        sequences=needed.micro_batch_size,
        passes=needed.passes,
        pipeline=layout.pipeline,
        stages_per_rank=STAGES_PER_RANK[schedule],
        tensor=layout.tensor,
        context=layout.context,
        expert=layout.expert,
        recompute=run.training.activation_checkpointing,
    )
    rate = tokens_per_second(run.architecture, work, precision=run.training.precision, gpu=gpu)
    return rate * run.workers.world_size


def _forward_of_layers(a: Architecture, sequence_length: int) -> int:
    """FLOPs of one token; the heads, which are not computed again, aside."""
    heads = 2 * (1 + a.num_nextn_predict_layers) * a.vocab_size * a.hidden_size
    return flops_per_token(a, sequence_length=sequence_length) // _OF_FORWARD - heads


def _exchange_seconds(a: Architecture, degree: int, gpu: Accelerator) -> float:
    """Of a token in one layer of experts, one way. To another node it travels once, whatever the experts that
    want it there, and to no more nodes than its groups of experts are on."""
    moe = a.moe
    assert moe is not None
    nodes, neighbours = max(1, degree // GPUS_PER_NODE), min(degree, GPUS_PER_NODE)
    groups = moe.topk_group if moe.n_group > 1 else nodes
    to_nodes = min(moe.num_experts_per_tok, nodes, groups) * (nodes - 1) / nodes
    to_neighbours = moe.num_experts_per_tok * (neighbours - 1) / neighbours
    sent = _BYTES * a.hidden_size
    return sent * (to_nodes / gpu.network_bytes + to_neighbours / gpu.link_bytes)
