"""Small architectures, one for each branch of the published model."""

from deepseek_workloads.contract.architecture import Architecture, MoE, RopeScaling

_MOE = MoE(
    n_routed_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=24,
    n_group=4,
    topk_group=2,
    first_k_dense_replace=1,
    sequence_balance_loss_weight=0.0,
)
BASE = Architecture(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    q_lora_rank=20,
    kv_lora_rank=16,
    qk_nope_head_dim=12,
    qk_rope_head_dim=8,
    v_head_dim=10,
    max_position_embeddings=128,
    moe=_MOE,
)


def with_moe(**changes: object) -> Architecture:
    return BASE.model_copy(update={"moe": _MOE.model_copy(update=changes)})


_YARN = RopeScaling(factor=4, original_max_position_embeddings=32, beta_fast=4)

ARCHITECTURES: dict[str, Architecture] = {
    "low-rank queries, expert groups, one dense layer": BASE,
    "one query projection": BASE.model_copy(update={"q_lora_rank": None}),
    "yarn": BASE.model_copy(update={"rope_scaling": _YARN}),
    "yarn with unequal mscales": BASE.model_copy(
        update={"rope_scaling": _YARN.model_copy(update={"mscale": 0.7, "mscale_all_dim": 1.2})}
    ),
    "biases in attention": BASE.model_copy(update={"attention_bias": True}),
    "values wider than queries": BASE.model_copy(update={"v_head_dim": 28}),
    "tied head": BASE.model_copy(update={"tie_word_embeddings": True}),
    "other norm epsilon": BASE.model_copy(update={"rms_norm_eps": 1e-3}),
    "no groups": with_moe(n_group=1, topk_group=1),
    "unnormalised weights, scaled": with_moe(norm_topk_prob=False, routed_scaling_factor=0.7),
    "two shared experts": with_moe(n_shared_experts=2),
    "no dense layer": with_moe(first_k_dense_replace=0),
    "all layers dense": with_moe(first_k_dense_replace=3),
    "rows that grouped products cannot align": with_moe(moe_intermediate_size=23),
    "odd width before the rotary part": BASE.model_copy(update={"qk_nope_head_dim": 11}),
}
