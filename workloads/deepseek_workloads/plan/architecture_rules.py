"""Whether the sizes of an architecture go together. Pure; it knows neither layouts nor batches."""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.architecture import ARCHITECTURE_FIELD, INVALID_ARCHITECTURE
from deepseek_workloads.plan.nearest import divisors_near, either, multiples
from deepseek_workloads.plan.problem import Problem


def _problem(name: str, value: object, rule: str, remedy: str) -> Problem:
    return Problem(f"{ARCHITECTURE_FIELD}.{name}", str(value), rule, remedy, INVALID_ARCHITECTURE)


def expert_groups(a: Architecture) -> Iterator[Problem]:
    moe = a.moe
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


def shapes(a: Architecture) -> Iterator[Problem]:
    if a.qk_rope_head_dim % 2:
        yield _problem(
            "qkRopeHeadDim",
            a.qk_rope_head_dim,
            "must be even: RoPE turns pairs of features",
            f"use {a.qk_rope_head_dim - 1} or {a.qk_rope_head_dim + 1}",
        )
    if a.moe.first_k_dense_replace > a.num_hidden_layers:
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
