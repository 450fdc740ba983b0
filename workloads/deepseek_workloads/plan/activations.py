"""What a pass keeps for its backward pass, in closed form, for each token. Pure; it knows no layouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from deepseek_workloads.contract.architecture import Architecture, MoE

EXACT_BYTES = 4
_ONE = Fraction(1)
_INDEX_ROWS = 256  # queries whose scores are made at a time: a block sees the keys up to its last query


@dataclass(frozen=True)
class Kept:
    """Numbers, by what they are stored in."""

    computed: int = 0  # in what the pass computes in
    normed: int = 0  # inputs of norms: in float32 where weights are, else as computed
    raised: int = 0  # copies in float32 where a lower precision computes, none otherwise
    exact: int = 0  # in float32 whatever computes
    bytes: int = 0  # of indices and masks

    def __add__(self, other: "Kept") -> "Kept":
        return Kept(
            self.computed + other.computed,
            self.normed + other.normed,
            self.raised + other.raised,
            self.exact + other.exact,
            self.bytes + other.bytes,
        )

    def __mul__(self, times: Fraction) -> "Kept":
        return Kept(
            round(self.computed * times),
            round(self.normed * times),
            round(self.raised * times),
            round(self.exact * times),
            round(self.bytes * times),
        )

    def size(self, compute: int, *, exact_weights: bool) -> int:
        """Bytes. `exact_weights`: a pass is handed float32 weights and lowers them itself (autocast)."""
        norm = EXACT_BYTES if exact_weights else compute
        raised = EXACT_BYTES if compute < EXACT_BYTES else 0
        return (
            compute * self.computed
            + norm * self.normed
            + raised * self.raised
            + EXACT_BYTES * self.exact
            + self.bytes
        )


@lru_cache(maxsize=256)
def kept_per_token(
    a: Architecture,
    *,
    length: int,
    gpu: bool = False,
    recompute: bool = False,
    experts_shared: bool = False,
    passes_held: Fraction = _ONE,
) -> Kept:
    """`length` of a sequence; `recompute`: layers keep their input only, and run again one by one;
    `experts_shared`: tokens travel to experts of other ranks, and as many come; `passes_held`: how often all
    layers' share is there at once (`plan.pipeline`); a layer that runs again, and what follows the layers,
    are there once."""
    modules = a.num_nextn_predict_layers
    layers = [_layer(a, index, length, gpu=gpu) for index in range(a.num_hidden_layers + modules)]
    if experts_shared or (a.moe is not None and a.moe.expert_capacity_factor is not None):
        layers = [layer + _spread(a, index) for index, layer in enumerate(layers)]
    # A module for more than the next token: two more norms, what they are joined to, a last norm of its own.
    kept = _last(a)
    for _ in range(modules):
        kept += _norm(a.hidden_size) + _norm(a.hidden_size) + Kept(computed=2 * a.hidden_size) + _last(a)
    seen = _images(a)
    if recompute:
        largest = max(layers, key=lambda layer: layer.size(EXACT_BYTES, exact_weights=True))
        return kept + Kept(normed=len(layers) * a.hidden_size) * passes_held + largest + seen
    return kept + seen + sum(layers, start=Kept()) * passes_held


def _images(a: Architecture) -> Kept:
    """Of encoder and projector, where images fill the sequence: an upper bound, a patch a token."""
    v = a.vision
    if v is None:
        return Kept()
    wide, hidden = v.hidden_size, a.hidden_size
    # Two norms; queries, keys, values and what attention gives; the network before and after its activation.
    layer = _norm(wide) + _norm(wide) + Kept(computed=4 * wide + 2 * v.intermediate_size)
    projector = Kept(computed=wide + 2 * hidden)
    return sum([layer] * v.num_hidden_layers, start=_norm(wide) + projector + Kept(bytes=v.patch_width))


def _norm(features: int) -> Kept:
    return Kept(normed=features, computed=features)  # input, output


def _last(a: Architecture) -> Kept:
    """The norm before the head, and the gradient that the loss makes beside itself."""
    return _norm(a.hidden_size) + Kept(computed=a.hidden_size)


def _layer(a: Architecture, index: int, length: int, *, gpu: bool) -> Kept:
    moe = a.mixture_of(index)
    gated = 3  # gate, up, product
    network = Kept(computed=gated * a.intermediate_size) if moe is None else _mixture(moe, a.hidden_size)
    kept = _norm(a.hidden_size) + _norm(a.hidden_size) + network
    return sum(_attention(a, length, gpu=gpu), start=kept)


def _attention(a: Architecture, length: int, *, gpu: bool) -> Iterator[Kept]:
    heads = a.num_attention_heads
    if a.latent:
        head = a.qk_nope_head_dim + a.qk_rope_head_dim
        yield _norm(a.kv_lora_rank) + Kept(computed=a.qk_rope_head_dim)
        if a.q_lora_rank is not None:
            yield _norm(a.q_lora_rank)
        yield _latent_heads(heads, head, a.v_head_dim, padded=gpu or a.indexer is not None)
        if a.indexer is not None:
            yield _index(a, length)
    elif a.attention.kind == "slidingWindow" and gpu and length > a.attention.sliding_window:
        yield Kept(computed=6 * heads * a.head_dim)  # keys and values of the block before as well
    elif a.attention.kind == "lsh":
        yield Kept(computed=4 * heads * a.head_dim) + _rounds(a)
    else:
        yield Kept(computed=4 * heads * a.head_dim)  # queries, keys, values, output
    if a.attention.head_gate is not None:
        yield Kept(computed=heads * (a.v_head_dim if a.latent else a.head_dim), raised=a.hidden_size)
        yield Kept(exact=3 * heads)


def _latent_heads(heads: int, head: int, value: int, *, padded: bool) -> Kept:
    """Queries, keys, values, and what the last projection takes in; fused kernels want one width for all, and
    keep what they give."""
    if not padded:
        return Kept(computed=heads * 2 * (head + value))
    width = max(head, value)
    return Kept(computed=heads * (4 * width + (value if width > value else 0)))


def _index(a: Architecture, length: int) -> Kept:
    """Of the indexer: its projections, the scores of every head, and the divergence from attention."""
    settings, latent = a.indexer, a.q_lora_rank
    assert settings is not None
    assert latent is not None
    heads, width = settings.index_n_heads, settings.index_head_dim
    seen = (length + min(length, _INDEX_ROWS)) // 2
    # Each head's scores; of their sum the logarithm, and attention's weights; masks as bits of a byte each.
    scores = Kept(exact=(heads + 2) * seen, bytes=4 * seen)
    projected = Kept(computed=2 * width, exact=heads, raised=heads * width + width)
    return scores + projected + Kept(computed=heads * width)


def _rounds(a: Architecture) -> Kept:
    """Of lsh: the logarithm of each softmax; of each round the orders of queries and keys, and what a query
    sees of them."""
    heads, rounds = a.num_attention_heads, a.attention.num_hashes
    return Kept(exact=heads, bytes=rounds * heads * 4 * 4)


def _mixture(moe: MoE, hidden: int) -> Kept:
    gated = 3 * moe.moe_intermediate_size
    # Gate and up, of which the product is made again, and a factor; tokens are spread again.
    routed = moe.num_experts_per_tok * (2 * moe.moe_intermediate_size + 1)
    router = Kept(raised=hidden, exact=4 * moe.n_routed_experts)
    return router + Kept(computed=routed + moe.n_shared_experts * gated)


def _spread(a: Architecture, index: int) -> Kept:
    """Rows of experts, where they are not at hand as tokens."""
    moe = a.mixture_of(index)
    return Kept() if moe is None else Kept(computed=moe.num_experts_per_tok * a.hidden_size)
