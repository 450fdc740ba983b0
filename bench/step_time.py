"""`make bench-step-time`: fits the plan's model of step time to published rates, and says its error on each
of them when it is left out of the fit.

The rates are tokens a second and GPU of training in float8: NVIDIA's of Megatron-Bridge 25.09 and 25.11 (its
performance summary; experts' loads are made equal there), and DeepSeek's own (arXiv:2412.19437: 2.664M hours
of H800 for 14.8T tokens). Nothing is measured here; the fit takes seconds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from report import Point, emit

from deepseek_workloads.contract.architecture import Architecture, Attention, MoE
from deepseek_workloads.plan.accelerators import accelerator_of
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.step_time import FITTED, Fitted, Pass, tokens_per_second

GOAL = 1 / 1.25  # of an error: within a quarter
_START = (0.35, 5e-3, 1e-4, 1.0)
_PRIOR = 0.001  # of the squared distance to the start, in logarithms: what few points do not tell stays there
_SMALLEST_STEP = 1e-4


@dataclass(frozen=True)
class Published:
    name: str
    architecture: Architecture
    gpu: str
    work: Pass
    rate: float  # tokens a second and GPU


def _grouped_queries(
    hidden: int, inner: int, layers: int, heads: int, shared: int, vocabulary: int, expert: int | None = None
) -> Architecture:
    """Llama 3's shapes, or with the width of an `expert` Qwen3's: 8 of 128."""
    moe = expert and MoE(
        n_routed_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=expert,
        n_shared_experts=0,
        first_k_dense_replace=0,
        scoring_func="softmax",
    )
    return Architecture(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        q_lora_rank=None,
        attention=Attention(kind="gqa", num_key_value_heads=shared, head_dim=128),
        max_position_embeddings=8192,
        num_nextn_predict_layers=0,
        moe=moe or None,
    )


V3 = PRESETS["deepseek-v3"]
LLAMA_8B = _grouped_queries(4096, 14336, 32, 32, 8, 128256)
LLAMA_70B = _grouped_queries(8192, 28672, 80, 64, 8, 128256)
LLAMA_405B = _grouped_queries(16384, 53248, 126, 128, 8, 128256)
QWEN_30B = _grouped_queries(2048, 6144, 48, 32, 4, 151936, 768)
QWEN_235B = _grouped_queries(4096, 12288, 94, 64, 4, 151936, 1536)

PUBLISHED = (
    Published("Llama 8B, 8 H100", LLAMA_8B, "H100", Pass(8192, 1, 16), 14451),
    Published("Llama 70B, 64 H100", LLAMA_70B, "H100", Pass(8192, 1, 64, 8, 5, tensor=4), 1602),
    Published("Llama 405B, 1024 H100", LLAMA_405B, "H100", Pass(8192, 1, 64, 8, 8, 8, 2), 292),
    Published("V3, 1024 H100", V3, "H100", Pass(4096, 1, 128, 8, 4, tensor=2, expert=64), 1297),
    Published("Qwen3 30B, 16 H100", QWEN_30B, "H100", Pass(4096, 2, 32, 2, 24, expert=8), 10494),
    Published("Qwen3 235B, 256 H100", QWEN_235B, "H100", Pass(4096, 1, 128, 8, 4, tensor=2, expert=32), 1575),
    Published("Llama 8B, 8 B200", LLAMA_8B, "B200", Pass(8192, 2, 8), 30624),
    Published("Llama 405B, 128 B200", LLAMA_405B, "B200", Pass(8192, 1, 32, 8, 8, 4, 2), 661),
    Published("V3, 256 B200", V3, "B200", Pass(4096, 1, 128, 16, expert=8), 2265),
    Published("Qwen3 30B, 8 B200", QWEN_30B, "B200", Pass(4096, 1, 64, expert=8), 18066),
    Published("Qwen3 235B, 64 B200", QWEN_235B, "B200", Pass(4096, 1, 128, 8, 2, expert=8), 4104),
    Published("V3, 2048 H800", V3, "H800", Pass(4096, 1, 120, 16, 2, expert=64), 1543),
)


def main() -> None:
    for left_out in PUBLISHED:
        rest = fit([point for point in PUBLISHED if point is not left_out])
        name = left_out.name.replace(", ", "-").replace(" ", "-")
        emit(
            Point(
                "step-time",
                name,
                [estimated(left_out, rest)],
                "tokens/s of a GPU",
                GOAL,
                "published",
                [left_out.rate],
                higher_is_better=True,
            )
        )
    errors = sorted(math.exp(abs(error(point, FITTED))) - 1 for point in PUBLISHED)
    emit(Point("step-time", "error-of-all", [100 * error for error in errors], "%", 25))


def estimated(point: Published, fitted: Fitted) -> float:
    gpu = accelerator_of(point.gpu)
    assert gpu is not None
    return tokens_per_second(point.architecture, point.work, precision="fp8", gpu=gpu, fitted=fitted)


def error(point: Published, fitted: Fitted) -> float:
    """Logarithm of estimated over published."""
    return math.log(estimated(point, fitted) / point.rate)


def fit(points: Sequence[Published], *, smallest_step: float = _SMALLEST_STEP) -> Fitted:
    """The least squares of the logarithms' errors, each to about `smallest_step`."""
    first = [math.log(value) for value in _START]

    def loss(logarithms: Sequence[float]) -> float:
        fitted = Fitted(*(math.exp(value) for value in logarithms))
        away = sum((value - start) ** 2 for value, start in zip(logarithms, first, strict=True))
        return sum(error(point, fitted) ** 2 for point in points) + _PRIOR * away

    return Fitted(*(math.exp(value) for value in _descended(loss, first, smallest_step)))


def _descended(
    loss: Callable[[Sequence[float]], float], start: Sequence[float], smallest_step: float
) -> list[float]:
    """One coordinate at a time, with steps that halve when none helps: four numbers need no more."""
    place, best, step = list(start), loss(start), 1.0
    while step > smallest_step:
        moved = False
        for index in range(len(place)):
            for by in (step, -step):
                tried = [value + by * (number == index) for number, value in enumerate(place)]
                if (found := loss(tried)) < best:
                    place, best, moved = tried, found, True
        if not moved:
            step /= 2
    return place


if __name__ == "__main__":
    main()
