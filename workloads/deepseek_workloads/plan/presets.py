"""Named architectures: a ladder of growing sizes, from a laptop's to DeepSeek-V3's. Numbers only."""

from collections.abc import Mapping
from types import MappingProxyType

from deepseek_workloads.contract.architecture import Architecture, Attention, Indexer, MoE, RopeScaling

# Plain Transformers, exported as Llama and Mixtral.
_TRANSFORMER_5M = Architecture(
    vocab_size=8192,
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=5,
    num_attention_heads=6,
    attention=Attention(kind="gqa", num_key_value_heads=2, head_dim=32),
    max_position_embeddings=2048,
)

_MOE_30M = Architecture(
    vocab_size=16384,
    hidden_size=320,
    intermediate_size=896,  # of no layer
    num_hidden_layers=6,
    num_attention_heads=8,
    attention=Attention(kind="gqa", num_key_value_heads=2, head_dim=40),
    max_position_embeddings=2048,
    moe=MoE(
        scoring_func="softmax",
        n_routed_experts=8,
        n_shared_experts=0,
        num_experts_per_tok=2,
        moe_intermediate_size=384,
        routed_scaling_factor=1.0,
        first_k_dense_replace=0,
        bias_update_speed=0.0,
        sequence_balance_loss_weight=0.0,
        load_balance_loss_weight=0.01,
    ),
)

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

_128M = Architecture(
    vocab_size=32768,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=10,
    num_attention_heads=8,
    q_lora_rank=256,
    kv_lora_rank=128,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    max_position_embeddings=4096,
    moe=MoE(
        n_routed_experts=32,
        num_experts_per_tok=4,
        moe_intermediate_size=184,
        n_group=4,
        topk_group=2,
        routed_scaling_factor=2.5,
        first_k_dense_replace=1,
    ),
)

_1B = Architecture(
    vocab_size=65536,
    hidden_size=1024,
    intermediate_size=2816,
    num_hidden_layers=16,
    num_attention_heads=16,
    q_lora_rank=512,
    kv_lora_rank=256,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    max_position_embeddings=4096,
    moe=MoE(
        n_routed_experts=32,
        num_experts_per_tok=4,
        moe_intermediate_size=528,
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

# Section 3.1.2 of the DeepSeek-V2 report (arXiv:2405.04434), with V3's gates.
_236B = Architecture(
    vocab_size=102400,
    hidden_size=5120,
    intermediate_size=12288,
    num_hidden_layers=60,
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    max_position_embeddings=163840,
    rope_scaling=RopeScaling(
        factor=40, original_max_position_embeddings=4096, mscale=0.707, mscale_all_dim=0.707
    ),
    moe=MoE(
        n_routed_experts=160,
        n_shared_experts=2,
        num_experts_per_tok=6,
        moe_intermediate_size=1536,
        n_group=8,
        topk_group=3,
        routed_scaling_factor=16.0,
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
    num_nextn_predict_layers=1,
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
        "transformer-5m": _TRANSFORMER_5M,
        "moe-30m": _MOE_30M,
        "deepseek-v3-small": _SMALL,
        "deepseek-v3-128m": _128M,
        "deepseek-v3-1b": _1B,
        "deepseek-v3-16b": _LITE,
        "deepseek-v3-236b": _236B,
        "deepseek-v3": _V3,
        # The published config.json of DeepSeek-V3.2-Exp: V3 with its indexer's defaults.
        "deepseek-v32": _V3.model_copy(update={"indexer": Indexer()}),
    }
)
