"""Named architectures, from a laptop's to DeepSeek-V3's. Numbers only."""

from collections.abc import Mapping
from types import MappingProxyType

from deepseek_workloads.contract.architecture import Architecture, MoE, RopeScaling

_TINY = Architecture(
    vocab_size=8192,
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    q_lora_rank=96,
    kv_lora_rank=64,
    qk_nope_head_dim=32,
    qk_rope_head_dim=16,
    v_head_dim=32,
    max_position_embeddings=2048,
    rope_theta=10000.0,
    moe=MoE(
        n_routed_experts=8,
        n_shared_experts=1,
        num_experts_per_tok=2,
        moe_intermediate_size=128,
        n_group=2,
        topk_group=1,
        routed_scaling_factor=1.0,
        first_k_dense_replace=1,
    ),
)

_SMALL = Architecture(
    vocab_size=16384,
    hidden_size=384,
    intermediate_size=1024,
    num_hidden_layers=8,
    num_attention_heads=6,
    q_lora_rank=192,
    kv_lora_rank=128,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    max_position_embeddings=4096,
    moe=MoE(
        n_routed_experts=16,
        n_shared_experts=1,
        num_experts_per_tok=4,
        moe_intermediate_size=256,
        n_group=4,
        topk_group=2,
        routed_scaling_factor=2.5,
        first_k_dense_replace=1,
    ),
)

# Table 7 of the DeepSeek-V2 report (arXiv:2405.04434), V2-Lite, with V3's gates.
_LITE = Architecture(
    vocab_size=102400,
    hidden_size=2048,
    intermediate_size=10944,
    num_hidden_layers=27,
    num_attention_heads=16,
    q_lora_rank=None,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    max_position_embeddings=4096,
    moe=MoE(
        n_routed_experts=64,
        n_shared_experts=2,
        num_experts_per_tok=6,
        moe_intermediate_size=1408,
        routed_scaling_factor=1.0,
        first_k_dense_replace=1,
    ),
)

# Section 4.2 of the DeepSeek-V3 report (arXiv:2412.19437) and its published config.json.
_V3 = Architecture(
    vocab_size=129280,
    hidden_size=7168,
    intermediate_size=18432,
    num_hidden_layers=61,
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    max_position_embeddings=163840,
    rope_scaling=RopeScaling(factor=40, original_max_position_embeddings=4096),
    moe=MoE(
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        moe_intermediate_size=2048,
        n_group=8,
        topk_group=4,
        routed_scaling_factor=2.5,
        first_k_dense_replace=3,
    ),
)

PRESETS: Mapping[str, Architecture] = MappingProxyType(
    {
        "deepseek-v3-tiny": _TINY,
        "deepseek-v3-small": _SMALL,
        "deepseek-v3-16b": _LITE,
        "deepseek-v3": _V3,
    }
)
