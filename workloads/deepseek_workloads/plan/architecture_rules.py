"""Whether the sizes of an architecture go together, and with the sequences. Pure; it knows no layouts."""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.architecture import ARCHITECTURE_FIELD, INVALID_ARCHITECTURE, VISION_FIELD
from deepseek_workloads.plan.nearest import divisors_near, either, multiples
from deepseek_workloads.plan.problem import Problem

_LEAST_RATE = 2.0**-16  # of dropout


def _problem(name: str, value: object, rule: str, remedy: str) -> Problem:
    return Problem(f"{ARCHITECTURE_FIELD}.{name}", str(value), rule, remedy, INVALID_ARCHITECTURE)


def expert_groups(a: Architecture) -> Iterator[Problem]:
    moe = a.moe
    if moe is None:
        return
    experts, groups = moe.n_routed_experts, moe.n_group
    if experts % groups:
        yield _problem(
            "moe.nRoutedExperts",
            experts,
            f"must be divisible by nGroup ({groups})",
            f"use {either(multiples(experts, groups))} experts, "
            f"or nGroup {either(divisors_near(experts, groups))}",
        )
        return
    if experts // groups < 2:
        yield _problem(
            "moe.nGroup",
            groups,
            f"a group needs at least 2 of the {experts} experts (its score is the sum of its best two)",
            f"use nGroup {max(1, experts // 2)} or less, or at least {2 * groups} experts",
        )
    if moe.topk_group > groups:
        yield _problem(
            "moe.topkGroup",
            moe.topk_group,
            f"must not exceed nGroup ({groups})",
            f"use topkGroup 1..{groups}",
        )
        return
    eligible = moe.topk_group * (experts // groups)
    if moe.num_experts_per_tok > eligible:
        yield _problem(
            "moe.numExpertsPerTok",
            moe.num_experts_per_tok,
            f"must not exceed the {eligible} experts of {moe.topk_group} of {groups} groups",
            f"use at most {eligible} experts a token, or a larger topkGroup",
        )


def heads(a: Architecture) -> Iterator[Problem]:
    even = "must be even: RoPE turns pairs of features"
    if a.latent:
        if a.qk_rope_head_dim % 2:
            near = f"use {a.qk_rope_head_dim - 1} or {a.qk_rope_head_dim + 1}"
            yield _problem("qkRopeHeadDim", a.qk_rope_head_dim, even, near)
        return
    if a.attention.head_dim is None and a.hidden_size % a.num_attention_heads:
        yield _problem(
            "numAttentionHeads",
            a.num_attention_heads,
            f"must divide hiddenSize ({a.hidden_size}), or attention.headDim must be set",
            f"use {either(divisors_near(a.hidden_size, a.num_attention_heads))}, or set attention.headDim",
        )
    elif a.head_dim % 2:
        yield _problem("attention.headDim", a.head_dim, even, f"use {a.head_dim - 1} or {a.head_dim + 1}")
    if a.num_attention_heads % a.key_value_heads:
        yield _problem(
            "attention.numKeyValueHeads",
            a.key_value_heads,
            f"must divide numAttentionHeads ({a.num_attention_heads})",
            f"use {either(divisors_near(a.num_attention_heads, a.key_value_heads))}",
        )
    if a.attention.kind == "lsh" and a.attention.num_buckets % 2 and a.attention.num_buckets > 1:
        buckets = a.attention.num_buckets
        rule = "must be even, or 1: a direction and its opposite are two buckets"
        yield _problem("attention.numBuckets", buckets, rule, f"use {buckets - 1} or {buckets + 1}")


def indexer(a: Architecture) -> Iterator[Problem]:
    if a.indexer is None:
        return
    if not a.latent:
        rule = "needs attention.kind mla: it reads the compressed queries"
        yield _problem("indexer", "set", rule, "use attention.kind mla, or leave the indexer away")
    elif a.q_lora_rank is None:
        rule = "must be set with an indexer, which reads the compressed queries"
        yield _problem("qLoraRank", "none", rule, "set it, or leave the indexer away")
    if a.indexer.index_head_dim < a.qk_rope_head_dim:
        yield _problem(
            "indexer.indexHeadDim",
            a.indexer.index_head_dim,
            f"must be at least qkRopeHeadDim ({a.qk_rope_head_dim}), the part that positions turn",
            f"use at least {a.qk_rope_head_dim}",
        )


def gates_and_dropout(a: Architecture) -> Iterator[Problem]:
    kind = a.attention.kind if a.indexer is None else "mla with an indexer"
    if kind in ("mla", "gqa"):
        return
    rule, remedy = "needs attention.kind mla or gqa, without an indexer", "use one of them, or leave it away"
    if a.attention.head_gate is not None:
        yield _problem("attention.headGate", f"set with {kind}", rule, remedy)
    if a.dropout is not None and a.dropout.attention:
        yield _problem("dropout.attention", f"{a.dropout.attention} with {kind}", rule, remedy)


def dropout_rates(a: Architecture) -> Iterator[Problem]:
    """16 bits decide about an element: nearer to 0 nothing is dropped, nearer to 1 nothing is kept."""
    for name, rate in (a.dropout.model_dump(by_alias=True) if a.dropout is not None else {}).items():
        if rate and not _LEAST_RATE <= rate <= 1 - _LEAST_RATE:
            yield _problem(
                f"dropout.{name}",
                rate,
                f"must be 0, or from {_LEAST_RATE:g} to 1 - {_LEAST_RATE:g}",
                'use "0.1", or leave it away',
            )


def vision(a: Architecture) -> Iterator[Problem]:
    v = a.vision
    if v is None:
        return
    if v.image_size % v.patch_size:
        yield _of_vision(
            "patchSize",
            v.patch_size,
            f"must divide imageSize ({v.image_size})",
            f"use {either(divisors_near(v.image_size, v.patch_size))}, or an imageSize of "
            f"{either(multiples(v.image_size, v.patch_size))}",
        )
    if v.hidden_size % v.num_attention_heads:
        yield _of_vision(
            "numAttentionHeads",
            v.num_attention_heads,
            f"must divide its hiddenSize ({v.hidden_size})",
            f"use {either(divisors_near(v.hidden_size, v.num_attention_heads))}",
        )
    if v.image_token_id >= a.vocab_size:
        yield _of_vision(
            "imageTokenId",
            v.image_token_id,
            f"must be below vocabSize ({a.vocab_size}): it stands in the sequence where an image does",
            "use the imageTokenId that the dataset's manifest.json names",
        )


def _of_vision(name: str, value: object, rule: str, remedy: str) -> Problem:
    return Problem(f"{VISION_FIELD}.{name}", str(value), rule, remedy, INVALID_ARCHITECTURE)


def room_for_an_image(run: TrainingRun) -> Iterator[Problem]:
    v, length = run.architecture.vision, run.data.sequence_length
    if v is not None and v.num_patches >= length:
        yield _of_vision(
            "patchSize",
            v.patch_size,
            f"makes {v.num_patches} tokens of an image, and data.sequenceLength is {length}: no word follows",
            f"use a sequenceLength above {v.num_patches}, larger patches or smaller images",
        )


def softmax_scores(a: Architecture) -> Iterator[Problem]:
    if a.moe is not None and a.moe.scoring_func == "softmax" and a.moe.bias_update_speed:
        yield _problem(
            "moe.biasUpdateSpeed",
            a.moe.bias_update_speed,
            "must be 0 with scoringFunc softmax, whose choice no bias moves",
            'use "0" and a loadBalanceLossWeight, or scoringFunc sigmoid',
        )


def shapes(a: Architecture) -> Iterator[Problem]:
    if a.moe is not None and a.moe.first_k_dense_replace > a.num_hidden_layers:
        yield _problem(
            "moe.firstKDenseReplace",
            a.moe.first_k_dense_replace,
            f"must not exceed numHiddenLayers ({a.num_hidden_layers})",
            f"use 0..{a.num_hidden_layers}",
        )
    scaling = a.rope_scaling
    if scaling is not None and scaling.original_max_position_embeddings > a.max_position_embeddings:
        yield _problem(
            "ropeScaling.originalMaxPositionEmbeddings",
            scaling.original_max_position_embeddings,
            f"must not exceed maxPositionEmbeddings ({a.max_position_embeddings}): YaRN lengthens a context",
            f"use at most {a.max_position_embeddings}, or leave ropeScaling away",
        )


def room_to_look_ahead(run: TrainingRun) -> Iterator[Problem]:
    modules, lengths = run.architecture.num_nextn_predict_layers, {"data": run.data.sequence_length}
    for index, stage in enumerate(run.training.curriculum):
        if stage.sequence_length is not None:
            lengths[f"training.curriculum[{index}]"] = stage.sequence_length
    field, length = min(lengths.items(), key=lambda item: item[1])
    if modules >= length:
        yield _problem(
            "numNextnPredictLayers",
            modules,
            f"must be below {field}.sequenceLength ({length}): each module predicts one token further ahead",
            f"use at most {length - 1}, or longer sequences",
        )


def served_by_no_engine(a: Architecture) -> Iterator[str]:
    """Why the serving engine cannot answer with such a model."""
    if a.attention.kind == "lsh":
        yield "attention.kind is lsh, which the serving engine does not decode"
