"""Small architectures, one for each branch of the published model."""

from deepseek_workloads.contract.architecture import (
    Architecture,
    Attention,
    HeadGate,
    Indexer,
    MoE,
    RopeScaling,
    Vision,
)

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


YARN = RopeScaling(factor=4, original_max_position_embeddings=32, beta_fast=4)

ARCHITECTURES: dict[str, Architecture] = {
    "low-rank queries, expert groups, one dense layer": BASE,
    "one query projection": BASE.model_copy(update={"q_lora_rank": None}),
    "yarn": BASE.model_copy(update={"rope_scaling": YARN}),
    "yarn with unequal mscales": BASE.model_copy(
        update={"rope_scaling": YARN.model_copy(update={"mscale": 0.7, "mscale_all_dim": 1.2})}
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

NEXTN = BASE.model_copy(update={"num_nextn_predict_layers": 2, "mtp_loss_weight": 0.7})  # no oracle has them

_PLAIN = Architecture(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    attention=Attention(kind="gqa", num_key_value_heads=2, head_dim=12),
    max_position_embeddings=128,
)
_SLIDING = Attention(kind="slidingWindow", num_key_value_heads=2, head_dim=12, sliding_window=7)
_SOFTMAX = MoE(
    scoring_func="softmax",
    n_routed_experts=8,
    n_shared_experts=0,
    num_experts_per_tok=2,
    moe_intermediate_size=24,
    routed_scaling_factor=1.0,
    first_k_dense_replace=0,
    bias_update_speed=0.0,
    sequence_balance_loss_weight=0.0,
)
# Classes of Hugging Face with keys and values of their own.
PLAIN: dict[str, Architecture] = {
    "grouped queries": _PLAIN,
    "grouped queries, tied head": _PLAIN.model_copy(update={"tie_word_embeddings": True}),
    "grouped queries, biases": _PLAIN.model_copy(update={"attention_bias": True}),
    "grouped queries, yarn": _PLAIN.model_copy(update={"rope_scaling": YARN}),
    "sliding window": _PLAIN.model_copy(update={"attention": _SLIDING}),
    "softmax gates": _PLAIN.model_copy(update={"moe": _SOFTMAX}),
    "softmax gates, sliding window": _PLAIN.model_copy(update={"moe": _SOFTMAX, "attention": _SLIDING}),
}
_GATE = HeadGate(penalty_weight=0.1)
_LSH = Attention(kind="lsh", num_key_value_heads=2, head_dim=12, num_buckets=4, num_hashes=2)
# Those that no class of Hugging Face's expresses.
OWN: dict[str, Architecture] = {
    "lsh": _PLAIN.model_copy(update={"attention": _LSH}),
    "gates of heads": BASE.model_copy(update={"attention": Attention(head_gate=_GATE)}),
    "grouped queries, gates of heads": _PLAIN.model_copy(
        update={"attention": _PLAIN.attention.model_copy(update={"head_gate": _GATE})}
    ),
    "latent attention, softmax gates": BASE.model_copy(update={"moe": _SOFTMAX}),
    "latent attention, no mixture": BASE.model_copy(update={"moe": None}),
    "grouped queries, sigmoid gates": _PLAIN.model_copy(update={"moe": _MOE}),
    "grouped queries, more than the next token": _PLAIN.model_copy(update={"num_nextn_predict_layers": 1}),
}
SPARSE = BASE.model_copy(update={"indexer": Indexer(index_n_heads=16, index_head_dim=12, index_topk=6)})
SEEING = BASE.model_copy(
    update={
        "vision": Vision(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=3,
            image_size=12,
            patch_size=4,
            image_mean=(0.5, 0.4, 0.3),
            image_std=(0.5, 0.25, 0.2),
            image_token_id=7,
        )
    }
)
