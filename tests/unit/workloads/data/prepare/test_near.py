"""Near-duplicates: candidates, components, and what of them stays."""

import random
from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import DeduplicateNear
from deepseek_workloads.data.prepare import near_pairs
from deepseek_workloads.data.prepare.context import Context, read_file
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter
from deepseek_workloads.data.prepare.near_components import connected_components, worse_of
from deepseek_workloads.data.prepare.near_pairs import PAIR_DTYPE, candidate_pairs, find_pairs, jaccard
from deepseek_workloads.data.prepare.near_signatures import (
    RECALL_AT_THRESHOLD,
    plan_bands,
    sign_part,
    signature_of,
)
from deepseek_workloads.data.prepare.part_files import put_documents
from deepseek_workloads.data.prepare.shingles import ngrams_of, shingles_of
from deepseek_workloads.store.open import open_store

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


SETS = st.lists(st.sets(st.integers(0, 2**32 - 1) | st.integers(0, 9), min_size=1, max_size=12), min_size=1)


@given(SETS, st.data())
def test_similarity_is_that_of_sets(sets, data) -> None:
    places = st.integers(0, len(sets) - 1)
    pairs = data.draw(st.lists(st.tuples(places, places), min_size=1, max_size=12))
    values = np.array([value for each in sets for value in sorted(each)], dtype=np.uint32)
    lengths = np.array([len(each) for each in sets])
    left, right = np.array(pairs).T
    expected = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs]
    assert jaccard(values, lengths, left, right).tolist() == expected


def _document(rng, words=300):
    return [rng.choice("abcdefghij") + str(rng.randrange(5000)) for _ in range(words)]


def _changed(rng, words, count):
    copy = list(words)
    for at in rng.sample(range(len(words)), count):
        copy[at] = f"changed{rng.randrange(10**6)}"
    return copy


def test_what_is_as_similar_as_asked_is_found_across_parts_and_nothing_else(make_run, tmp_path) -> None:
    """Against the exact similarity of all pairs."""
    rng = random.Random(7)
    bases = [_document(rng) for _ in range(40)]
    texts = [" ".join(words) for base in bases for words in (base, _changed(rng, base, rng.randrange(0, 16)))]
    rng.shuffle(texts)
    settings = DeduplicateNear(threshold=0.8)
    context = Context(run=make_run(), attempt="attempt", open_store=open_store)
    signed = []
    with context.output() as store:
        for part in range(4):
            writer = DocumentWriter()
            for text in texts[part * 20 : part * 20 + 20]:
                writer.add(Document(text))
            written = put_documents(context, store, writer, name="read", number=part)
            signed.append(sign_part(context, "signatures", settings, [], written))
        found = set()
        for band in range(plan_bands(settings).count):
            record = find_pairs(context, "pairs", settings, signed, band)
            for first, second in np.frombuffer(read_file(store, record.pairs), dtype=PAIR_DTYPE).tolist():
                found.add((first[0] * 20 + first[1], second[0] * 20 + second[1]))
    sets = [shingles_of(text, n=5) for text in texts]
    alike = {
        (a, b)
        for a, b in combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= settings.threshold
    }
    assert found <= alike
    assert len(found) >= 0.9 * len(alike) > 5


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
    assert ngrams_of(["one", "two"], n=3) == []
