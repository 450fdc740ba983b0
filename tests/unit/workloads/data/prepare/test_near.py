"""Near-duplicates: candidates, components, and what of them stays."""

from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import DeduplicateNear
from deepseek_workloads.data.prepare import near_pairs
from deepseek_workloads.data.prepare.near_components import connected_components, worse_of
from deepseek_workloads.data.prepare.near_pairs import PAIR_DTYPE, candidate_pairs
from deepseek_workloads.data.prepare.near_signatures import RECALL_AT_THRESHOLD, plan_bands, signature_of
from deepseek_workloads.data.prepare.shingles import ngrams_of, shingles_of

EDGES = st.integers(1, 30).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40),
    )
)


def _smallest_reachable(count, edges) -> list[int]:
    """By searching from every node."""
    neighbours = defaultdict(set)
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)
    labels = []
    for node in range(count):
        seen, waiting = {node}, [node]
        while waiting:
            for other in neighbours[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        labels.append(min(seen))
    return labels


@given(EDGES)
def test_components_are_those_of_a_search(graph) -> None:
    count, edges = graph
    first, second = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    assert connected_components(count, first, second).tolist() == _smallest_reachable(count, edges)


def test_a_long_chain_is_one_component() -> None:
    chain = np.random.default_rng(1).permutation(50_000)
    assert not connected_components(50_000, chain[:-1], chain[1:]).any()


@given(st.lists(st.integers(0, 5), max_size=20))
def test_candidates_are_all_pairs_of_equal_hashes(hashes) -> None:
    ordered = np.array(sorted(hashes), dtype=np.uint64)
    first, second = candidate_pairs(ordered)
    expected = {(a, b) for a, b in combinations(range(len(ordered)), 2) if ordered[a] == ordered[b]}
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(first) == len(expected)


def test_a_hash_that_very_many_share_gives_few_pairs_that_still_join_them_all(monkeypatch) -> None:
    monkeypatch.setattr(near_pairs, "EVERY_PAIR_OF", 10)
    first, second = candidate_pairs(np.zeros(1000, dtype=np.uint64))
    assert len(first) < 2000
    assert not connected_components(1000, first, second).any()


MEMBER = st.tuples(st.integers(0, 3), st.integers(0, 9))


@given(st.lists(st.tuples(MEMBER, MEMBER), max_size=30), st.randoms(use_true_random=False))
def test_of_each_component_exactly_the_longest_stays(edges, rng) -> None:
    edges = [(a, b) for a, b in edges if a != b]
    size = {member: rng.randint(1, 3) for edge in edges for member in edge}
    pairs = np.array([((*a, size[a]), (*b, size[b])) for a, b in edges], dtype=PAIR_DTYPE)
    dropped, kept = worse_of(pairs)
    gone = [tuple(row)[:2] for row in dropped.tolist()]
    assert gone == sorted(set(gone))
    best = {tuple(row)[:2] for row in kept.tolist()}
    assert not best & set(gone)
    members = sorted(size)
    at = {member: number for number, member in enumerate(members)}
    labels = _smallest_reachable(len(members), [(at[a], at[b]) for a, b in edges])
    for label in set(labels):
        component = [member for member in members if labels[at[member]] == label]
        [stays] = set(component) - set(gone)
        assert (-size[stays], stays) == min((-size[member], member) for member in component)


@given(st.floats(0.5, 1), st.integers(32, 256))
def test_bands_find_pairs_at_the_threshold_and_use_no_number_twice(threshold, permutations) -> None:
    bands = plan_bands(DeduplicateNear(threshold=threshold, permutations=permutations))
    assert bands.count * bands.rows <= permutations
    assert 1 - (1 - threshold**bands.rows) ** bands.count >= RECALL_AT_THRESHOLD


def test_signatures_estimate_the_similarity_of_sets() -> None:
    shared, own = [f"shared {n}" for n in range(80)], [f"own {n}" for n in range(20)]
    first = signature_of({*shared, *own}, permutations=1024)
    second = signature_of(set(shared), permutations=1024)
    assert (first == second).mean() == pytest.approx(0.8, abs=0.06)


def test_shingles_know_no_case_width_or_punctuation() -> None:
    assert shingles_of("The end, ＴＨＥ END.", n=2) == {"the end", "end the"}
    assert shingles_of("训练。", n=5) == {"训 练"}
    assert shingles_of("...", n=5) == set()
    assert ngrams_of("one two", n=3) == []
