"""A model's architecture: one frozen type with the names of Hugging Face's DeepseekV3 configuration.

It does not know presets (`plan.presets`), what is allowed together (`plan.rules`), or tensors (`model`).
"""

from pydantic import Field

from deepseek_workloads.contract.wire import WireModel


class RopeScaling(WireModel):
    """YaRN (Peng et al. 2023, arXiv:2309.00071), as DeepSeek-V3 uses it."""

    factor: float = Field(gt=1)
    original_max_position_embeddings: int = Field(gt=0)
    beta_fast: float = Field(default=32, gt=0)
    beta_slow: float = Field(default=1, gt=0)
    mscale: float = 1.0
    mscale_all_dim: float = 1.0


class MoE(WireModel):
    """DeepSeekMoE with sigmoid gates and aux-loss-free balancing (DeepSeek-V3, arXiv:2412.19437, 2.1.2)."""

    n_routed_experts: int = Field(ge=1)
    n_shared_experts: int = Field(default=1, ge=0)
    num_experts_per_tok: int = Field(ge=1)
    moe_intermediate_size: int = Field(ge=1)
    n_group: int = Field(default=1, ge=1)
    topk_group: int = Field(default=1, ge=1)
    routed_scaling_factor: float = Field(default=2.5, gt=0)
    norm_topk_prob: bool = True
    first_k_dense_replace: int = Field(default=1, ge=0)
    bias_update_speed: float = Field(default=0.001, ge=0)
    sequence_balance_loss_weight: float = Field(default=0.0001, ge=0)


class Architecture(WireModel):
    """Sizes are counts of features unless said otherwise."""

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)  # of the dense layers
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    q_lora_rank: int | None = Field(default=None, ge=1)  # None: one full query projection
    kv_lora_rank: int = Field(ge=1)
    qk_nope_head_dim: int = Field(ge=1)
    qk_rope_head_dim: int = Field(ge=2)
    v_head_dim: int = Field(ge=1)
    max_position_embeddings: int = Field(default=4096, ge=1)  # tokens
    rope_theta: float = Field(default=10000.0, gt=0)
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    initializer_range: float = Field(default=0.02, gt=0)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    moe: MoE
