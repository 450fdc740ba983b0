"""Overrides of a preset's architecture: each field of the contract's Architecture, optional.

It does not know what fits together (`plan.rules`).
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from deepseek_operator.api.schema import ATOMIC_LIST, Decimal, Fraction, SpecModel

Size = Annotated[int, Field(ge=1, le=16_777_216)]
Count = Annotated[int, Field(ge=0, le=65_536)]


class RopeScalingOverrides(SpecModel):
    """YaRN: longer contexts than the model was first trained for."""

    type: Literal["yarn", "none"] = Field(
        default="yarn", description="none: plain rotary embedding, although the preset scales it."
    )
    factor: Decimal | None = Field(
        default=None, description="Length of the context by that of the original one."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Tokens of the original one."
    )
    beta_fast: Decimal | None = Field(
        default=None, description="Rotations above which a dimension is extrapolated."
    )
    beta_slow: Decimal | None = Field(
        default=None, description="Rotations below which a dimension is interpolated."
    )
    mscale: Decimal | None = Field(default=None, description="Scale of attention's magnitude.")
    mscale_all_dim: Decimal | None = Field(
        default=None, description="Scale of attention's magnitude over all dimensions."
    )


class HeadGateOverrides(SpecModel):
    """A gate for each attention head, which closes it for tokens that do not need it."""

    penalty_weight: Decimal | None = Field(
        default=None, description="Weight of the mean openness of gates in the loss; 0 closes none."
    )


class DropoutOverrides(SpecModel):
    """Rates at which training sets to zero; the same masks in every layout."""

    attention: Fraction | None = Field(default=None, description="Of attention's weights.")
    residual: Fraction | None = Field(
        default=None, description="Of what attention and network add to the hidden state."
    )
    embedding: Fraction | None = Field(default=None, description="Of embeddings.")


class AttentionOverrides(SpecModel):
    """Which attention, and the sizes of those that are not latent."""

    kind: Literal["mla", "gqa", "slidingWindow", "lsh"] | None = Field(
        default=None,
        description=(
            "mla: multi-head latent attention. gqa: groups of queries share keys and values. slidingWindow: "
            "gqa to the newest tokens. lsh: gqa to tokens whose hash falls into the same bucket."
        ),
    )
    num_key_value_heads: Size | None = Field(
        default=None, description="Heads of keys and values, but for mla; divides numAttentionHeads."
    )
    head_dim: Annotated[int, Field(ge=2, le=65_536)] | None = Field(
        default=None, description="Features of a head, but for mla; by default hiddenSize by the heads."
    )
    sliding_window: Size | None = Field(
        default=None, description="Tokens that slidingWindow sees, the own one included."
    )
    num_buckets: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        default=None, description="Buckets of lsh: 1, or an even number."
    )
    num_hashes: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="Rounds of hashing of lsh."
    )
    head_gate: HeadGateOverrides | None = Field(
        default=None,
        description="With mla and gqa: heads have gates, which training closes and serving leaves out.",
    )


class IndexerOverrides(SpecModel):
    """DeepSeek sparse attention: which tokens latent attention sees."""

    index_n_heads: Size | None = Field(default=None, description="Heads of the indexer.")
    index_head_dim: Annotated[int, Field(ge=2, le=65_536)] | None = Field(
        default=None, description="Features of such a head; at least qkRopeHeadDim."
    )
    index_topk: Size | None = Field(default=None, description="Tokens that attention sees.")
    stage: Literal["warmup", "sparse"] | None = Field(
        default=None,
        description=(
            "warmup: attention sees everything and only the indexer is trained, to find what attention "
            "looks at. sparse: both are trained, each by its own loss."
        ),
    )
    loss_weight: Decimal | None = Field(default=None, description="Weight of the indexer's loss.")


class InitializationRule(SpecModel):
    """How the first weights of matching matrices are drawn."""

    pattern: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="Of names of weights, with * and ?, e.g. *.o_proj.weight."
    )
    scheme: Literal[
        "normal", "scaledNormal", "xavierUniform", "xavierNormal", "kaimingUniform", "kaimingNormal"
    ] = Field(description="scaledNormal: initializerRange by the root of twice the layers.")


class MoEOverrides(SpecModel):
    """The mixture of experts."""

    scoring_func: Literal["sigmoid", "softmax"] | None = Field(
        default=None,
        description="Gates: sigmoid, balanced by a bias, or softmax, balanced by loadBalanceLossWeight.",
    )
    n_routed_experts: Size | None = Field(default=None, description="Routed experts of a layer.")
    n_shared_experts: Count | None = Field(default=None, description="Experts that every token passes.")
    num_experts_per_tok: Size | None = Field(default=None, description="Routed experts that a token passes.")
    moe_intermediate_size: Size | None = Field(default=None, description="Width of one expert.")
    n_group: Size | None = Field(
        default=None,
        description="Groups of experts that the router chooses from; divides nRoutedExperts.",
    )
    topk_group: Size | None = Field(default=None, description="Groups that a token may use; at most nGroup.")
    routed_scaling_factor: Decimal | None = Field(
        default=None, description="Factor on the routed experts' output."
    )
    norm_topk_prob: bool | None = Field(
        default=None, description="Whether the weights of the chosen experts sum to one."
    )
    first_k_dense_replace: Count | None = Field(
        default=None, description="First layers that are dense instead."
    )
    bias_update_speed: Decimal | None = Field(
        default=None, description="Step of the balancing bias after each training step; 0 turns it off."
    )
    sequence_balance_loss_weight: Decimal | None = Field(
        default=None, description="Weight of the balance loss within a sequence; 0 turns it off."
    )
    load_balance_loss_weight: Decimal | None = Field(
        default=None,
        description="Weight of the load-balance loss over the global batch; 0 turns it off.",
    )
    expert_capacity_factor: Decimal | None = Field(
        default=None,
        description=(
            "In training an expert takes this many times its even share of a sequence's tokens; later ones "
            "pass it by. 0: all that choose it."
        ),
    )


class ArchitectureOverrides(SpecModel):
    """Fields of a preset to change, named as in Hugging Face's DeepseekV3 configuration."""

    vocab_size: Size | None = Field(
        default=None, description="Rows of the embedding; at least the tokenizer's size."
    )
    hidden_size: Size | None = Field(default=None, description="Width of the residual stream.")
    intermediate_size: Size | None = Field(default=None, description="Width of a dense layer's feed-forward.")
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Transformer layers."
    )
    num_attention_heads: Size | None = Field(default=None, description="Attention heads.")
    attention: AttentionOverrides | None = Field(
        default=None, description="Which attention, and the sizes of those that are not latent."
    )
    indexer: IndexerOverrides | None = Field(
        default=None, description="Beside mla: sparse attention as in DeepSeek-V3.2."
    )
    q_lora_rank: Annotated[int, Field(ge=0, le=16_777_216)] | None = Field(
        default=None, description="Rank of the compressed query; 0 is one full projection instead."
    )
    kv_lora_rank: Size | None = Field(default=None, description="Rank of the compressed key and value.")
    qk_nope_head_dim: Size | None = Field(
        default=None, description="Features of a head's query and key without rotary embedding."
    )
    qk_rope_head_dim: Annotated[int, Field(ge=2, le=65_536)] | None = Field(
        default=None, description="Features of a head's query and key with rotary embedding; even."
    )
    v_head_dim: Size | None = Field(default=None, description="Features of a head's value.")
    max_position_embeddings: Size | None = Field(
        default=None, description="Longest sequence, in tokens, that the model can see."
    )
    rope_theta: Decimal | None = Field(default=None, description="Base of the rotary embedding.")
    rope_scaling: RopeScalingOverrides | None = Field(default=None, description="YaRN for longer contexts.")
    rms_norm_eps: Decimal | None = Field(default=None, description="Epsilon of RMSNorm.")
    initializer_range: Decimal | None = Field(
        default=None, description="Standard deviation of the initial weights."
    )
    initialization: Annotated[list[InitializationRule], Field(max_length=64)] | None = Field(
        default=None,
        description="First weights by name; the first match counts, others are normal. Replaces a preset's.",
        json_schema_extra=ATOMIC_LIST,
    )
    tie_word_embeddings: bool | None = Field(
        default=None, description="Whether the output layer shares the embedding's weights."
    )
    attention_bias: bool | None = Field(default=None, description="Whether attention has biases.")
    dropout: DropoutOverrides | None = Field(
        default=None, description="What training sets to zero; by default nothing."
    )
    num_nextn_predict_layers: Annotated[int, Field(ge=0, le=16)] | None = Field(
        default=None,
        description="Modules that are trained to predict one token further ahead each; 0: none.",
    )
    mtp_loss_weight: Decimal | None = Field(default=None, description="Weight of these modules' mean loss.")
    moe: MoEOverrides | None = Field(default=None, description="The mixture of experts.")

    def to_overrides(self) -> dict[str, Any]:
        """What was given, as the nested camelCase mapping that `plan.architecture.resolve` takes.

        There a null takes an optional part away. Here it is a word, since kubectl apply drops nulls.
        """
        overrides = self.model_dump(by_alias=True, exclude_none=True)
        if self.q_lora_rank == 0:
            overrides["qLoraRank"] = None
        if self.rope_scaling is not None:
            scaling = overrides["ropeScaling"]
            overrides["ropeScaling"] = scaling if scaling.pop("type") == "yarn" else None
        capacity = self.moe.expert_capacity_factor if self.moe is not None else None
        if capacity is not None and float(capacity) == 0:
            overrides["moe"]["expertCapacityFactor"] = None
        return overrides
