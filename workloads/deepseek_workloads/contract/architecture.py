"""A model's architecture: one frozen type with the names of Hugging Face's, DeepseekV3's where it has one.

It does not know presets (`plan.presets`), what is allowed together (`plan.rules`), or tensors (`model`).
"""

from typing import Annotated, Final, Literal

from pydantic import Field, PositiveFloat

from deepseek_workloads.contract.wire import WireModel

MAX_SIZE: Final = 2**24  # of any one number of features, tokens or experts: more is a mistake, or an attack
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
NUM_CHANNELS: Final = 3  # of an image: red, green, blue


class RopeScaling(WireModel):
    """YaRN (Peng et al. 2023, arXiv:2309.00071), as DeepSeek-V3 uses it."""

    factor: float = Field(gt=1)
    original_max_position_embeddings: int = Field(gt=0)
    beta_fast: float = Field(default=32, gt=0)
    beta_slow: float = Field(default=1, gt=0)
    mscale: float = 1.0
    mscale_all_dim: float = 1.0


class MoE(WireModel):
    """DeepSeekMoE with sigmoid gates and aux-loss-free balancing (DeepSeek-V3, arXiv:2412.19437, 2.1.2), or
    softmax gates as in Mixtral (arXiv:2401.04088), which no bias moves."""

    scoring_func: Literal["sigmoid", "softmax"] = "sigmoid"

    n_routed_experts: Size
    n_shared_experts: int = Field(default=1, ge=0, le=MAX_SIZE)
    num_experts_per_tok: Size
    moe_intermediate_size: Size
    n_group: Size = 1
    topk_group: Size = 1
    routed_scaling_factor: float = Field(default=2.5, gt=0)
    norm_topk_prob: bool = True
    first_k_dense_replace: int = Field(default=1, ge=0)
    bias_update_speed: float = Field(default=0.001, ge=0)
    sequence_balance_loss_weight: float = Field(default=0.0001, ge=0)
    # alpha of the Switch Transformer's loss (arXiv:2101.03961, equation 4), over the whole global batch
    load_balance_loss_weight: float = Field(default=0.0, ge=0)
    # Training only: an expert takes ceil(factor * T * K / E) tokens of a sequence. None: all that choose it.
    expert_capacity_factor: float | None = Field(default=None, gt=0)


class HeadGate(WireModel):
    """A gate for each attention head that closes it for tokens which do not need it (`model.head_gates`)."""

    penalty_weight: float = Field(default=0.01, ge=0)  # of the mean openness of a layer's gates


class Dropout(WireModel):
    """Rates at which training sets to zero."""

    attention: float = Field(default=0.0, ge=0, lt=1)  # weights
    residual: float = Field(default=0.0, ge=0, lt=1)  # what attention and network add to the hidden state
    embedding: float = Field(default=0.0, ge=0, lt=1)


class Attention(WireModel):
    """Which attention, and the sizes of those that are not latent (mla has its own in Architecture).

    gqa: queries in groups that share keys and values. The others are gqa that sees less: slidingWindow the
    newest tokens, lsh those whose hash falls into the same bucket.
    """

    kind: Literal["mla", "gqa", "slidingWindow", "lsh"] = "mla"
    num_key_value_heads: Size | None = None  # None: as many as attention heads
    head_dim: int | None = Field(default=None, ge=2, le=MAX_SIZE)  # None: hidden_size / num_attention_heads
    sliding_window: Size = 4096  # tokens, the own one included
    num_buckets: Size = 64
    num_hashes: Size = 4  # rounds
    head_gate: HeadGate | None = None  # None: every head is open


class Initialization(WireModel):
    """How the first weights of matching matrices are drawn; norms are one and biases zero all the same."""

    pattern: str = Field(min_length=1)  # of the names of weights, as fnmatch reads it
    # normal: initializer_range; scaledNormal: that by the root of twice the layers (as GPT-2's residuals);
    # xavier* (Glorot and Bengio 2010) and kaiming* (arXiv:1502.01852, for rectifiers) by the matrix's sides.
    scheme: Literal[
        "normal", "scaledNormal", "xavierUniform", "xavierNormal", "kaimingUniform", "kaimingNormal"
    ]


class Indexer(WireModel):
    """The lightning indexer of DeepSeek sparse attention (DeepSeek-V3.2), beside latent attention."""

    index_n_heads: Size = 64
    index_head_dim: int = Field(default=128, ge=2, le=MAX_SIZE)
    index_topk: Size = 2048  # tokens that attention sees
    # warmup: training attends to everything and changes the indexer only. Evaluation is sparse in both.
    stage: Literal["warmup", "sparse"] = "sparse"
    loss_weight: float = Field(default=1.0, ge=0)


class Vision(WireModel):
    """A ViT (Dosovitskiy et al. 2020, arXiv:2010.11929) whose features stand in a sequence where an image is,
    after a projector of two layers. Names and defaults are those of ViTConfig; activations are GELU."""

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    num_hidden_layers: int = Field(default=12, ge=1, le=1024)
    num_attention_heads: Size = 12
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    qkv_bias: bool = True
    image_size: Annotated[int, Field(ge=1, le=4096)] = 224  # pixels of a side
    patch_size: Annotated[int, Field(ge=1, le=4096)] = 16  # pixels of a side
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # by channel, of pixels from 0 to 1
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    image_token_id: int = Field(ge=0, le=MAX_SIZE)  # as many of it as patches stand for an image

    @property
    def num_patches(self) -> int:
        """Of an image, and tokens of it in a sequence."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def patch_width(self) -> int:
        """Numbers of a patch."""
        return NUM_CHANNELS * self.patch_size**2


class Architecture(WireModel):
    """Sizes are counts of features unless said otherwise."""

    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size  # of the dense layers
    num_hidden_layers: int = Field(ge=1, le=1024)
    num_attention_heads: Size
    attention: Attention = Attention()
    q_lora_rank: Size | None = None  # None: one full query projection
    kv_lora_rank: Size = 512
    qk_nope_head_dim: Size = 128
    qk_rope_head_dim: int = Field(default=64, ge=2, le=MAX_SIZE)
    v_head_dim: Size = 128
    indexer: Indexer | None = None  # None: attention sees everything before a token
    max_position_embeddings: Size = 4096  # tokens
    rope_theta: float = Field(default=10000.0, gt=0)
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    initializer_range: float = Field(default=0.02, gt=0)
    initialization: tuple[Initialization, ...] = Field(default=(), max_length=64)  # the first that matches
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    dropout: Dropout | None = None  # None: nothing is dropped
    # Multi-token prediction (DeepSeek-V3, 2.2): modules that each predict one token further ahead.
    num_nextn_predict_layers: int = Field(default=0, ge=0, le=1024)
    mtp_loss_weight: float = Field(default=0.3, ge=0)  # lambda, of the mean over the modules
    moe: MoE | None = None  # None: every layer is dense
    vision: Vision | None = None  # None: text alone

    @property
    def latent(self) -> bool:
        """Whether attention is multi-head latent attention."""
        return self.attention.kind == "mla"

    @property
    def warming_up(self) -> bool:
        """Whether training changes the indexer only."""
        return self.indexer is not None and self.indexer.stage == "warmup"

    @property
    def key_value_heads(self) -> int:
        """Of attention that is not latent."""
        return self.attention.num_key_value_heads or self.num_attention_heads

    @property
    def head_dim(self) -> int:
        """Features of a query, key and value where attention is not latent."""
        return self.attention.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rotary_width(self) -> int:
        """Features of a head that positions turn."""
        return self.qk_rope_head_dim if self.latent else self.head_dim

    @property
    def routed_experts(self) -> int:
        """Of a layer; 0 without a mixture."""
        return self.moe.n_routed_experts if self.moe is not None else 0

    def mixture_of(self, index: int) -> MoE | None:
        """Of decoder layer `index`; modules for more than the next token follow the last."""
        return self.moe if self.moe is not None and index >= self.moe.first_k_dense_replace else None
