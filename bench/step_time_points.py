"""Rates of training that are known: published ones, which the plan's model of step time is fitted to.

They are tokens a second and GPU of training in float8: NVIDIA's of Megatron-Bridge 25.09 and 25.11 (its
performance summary; experts' loads are made equal there), and DeepSeek's own (arXiv:2412.19437: 2.664M hours
of H800 for 14.8T tokens).
"""

from dataclasses import dataclass

from deepseek_workloads.contract.architecture import Architecture, Attention, MoE
from deepseek_workloads.plan.accelerators import Accelerator, accelerator_of
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.step_time import Pass


@dataclass(frozen=True)
class Known:
    name: str
    architecture: Architecture
    gpu: Accelerator
    work: Pass
    rate: float  # tokens a second and GPU
    precision: str


def _published(name: str, architecture: Architecture, gpu: str, work: Pass, rate: float) -> Known:
    known = accelerator_of(gpu)
    assert known is not None
    return Known(name, architecture, known, work, rate, "fp8")


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
    _published("Llama 8B, 8 H100", LLAMA_8B, "H100", Pass(8192, 1, 16), 14451),
    _published("Llama 70B, 64 H100", LLAMA_70B, "H100", Pass(8192, 1, 64, 8, 5, tensor=4), 1602),
    _published("Llama 405B, 1024 H100", LLAMA_405B, "H100", Pass(8192, 1, 64, 8, 8, 8, 2), 292),
    _published("V3, 1024 H100", V3, "H100", Pass(4096, 1, 128, 8, 4, tensor=2, expert=64), 1297),
    _published("Qwen3 30B, 16 H100", QWEN_30B, "H100", Pass(4096, 2, 32, 2, 24, expert=8), 10494),
    _published(
        "Qwen3 235B, 256 H100", QWEN_235B, "H100", Pass(4096, 1, 128, 8, 4, tensor=2, expert=32), 1575
    ),
    _published("Llama 8B, 8 B200", LLAMA_8B, "B200", Pass(8192, 2, 8), 30624),
    _published("Llama 405B, 128 B200", LLAMA_405B, "B200", Pass(8192, 1, 32, 8, 8, 4, 2), 661),
    _published("V3, 256 B200", V3, "B200", Pass(4096, 1, 128, 16, expert=8), 2265),
    _published("Qwen3 30B, 8 B200", QWEN_30B, "B200", Pass(4096, 1, 64, expert=8), 18066),
    _published("Qwen3 235B, 64 B200", QWEN_235B, "B200", Pass(4096, 1, 128, 8, 2, expert=8), 4104),
    _published("V3, 2048 H800", V3, "H800", Pass(4096, 1, 120, 16, 2, expert=64), 1543),
)
