"""Whoever asks gets every byte once, from a rank that holds it, and no round is larger than its bound."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.store.interface import ByteRange
from deepseek_workloads.train.replicas import transfers
from deepseek_workloads.train.replicas.transfers import (
    Transfer,
    asked_of_holders,
    in_rounds,
    keepers_of,
    to_keepers,
)

KEYS = ("a", "b", "c")
RANKS = 4


@st.composite
def held_and_asked(draw: st.DrawFn) -> tuple[list[frozenset[str]], list[list[ByteRange]]]:
    held = [frozenset(draw(st.sets(st.sampled_from(KEYS)))) for _ in range(RANKS)]
    known = sorted(frozenset().union(*held))
    piece = transfers.PIECE_BYTES
    bounds = st.tuples(st.integers(0, 3 * piece), st.integers(0, 3 * piece)).map(sorted)
    asked = [
        [
            ByteRange(draw(st.sampled_from(known)), *draw(bounds))
            for _ in range(draw(st.integers(0, 4)) if known else 0)
        ]
        for _ in range(RANKS)
    ]
    return held, asked


@given(held_and_asked())
def test_what_is_asked_for_comes_once_and_from_a_holder(
    case: tuple[list[frozenset[str]], list[list[ByteRange]]],
) -> None:
    held, asked = case
    found = list(asked_of_holders(held, asked))
    assert all(transfer.key in held[transfer.source] for transfer in found)
    for target, ranges in enumerate(asked):
        for number, wanted in enumerate(ranges):
            pieces = [t for t in found if (t.target, t.number) == (target, number)]
            at = wanted.start
            for piece in pieces:  # in order, without gaps
                assert (piece.key, piece.start) == (wanted.key, at)
                at = piece.end
            assert at == wanted.end


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 10)), max_size=40),
)
def test_rounds_are_bounded_complete_and_keep_the_order_of_each_pair(
    wanted: list[tuple[int, int, int]],
) -> None:
    given_order = [Transfer(s, t, n, "a", 0, size) for n, (s, t, size) in enumerate(wanted)]
    rounds = in_rounds(given_order, limit=12)
    assert sorted(t.number for each in rounds for t in each) == list(range(len(wanted)))
    for each in rounds:
        for end in ("source", "target"):
            sizes = Counter[int]()
            for transfer in each:
                sizes[getattr(transfer, end)] += transfer.end
            assert max(sizes.values()) <= 12
    flat = [t for each in rounds for t in each]
    for pair in {(t.source, t.target) for t in flat}:
        numbers = [t.number for t in flat if (t.source, t.target) == pair]
        assert numbers == sorted(numbers)


def test_what_is_larger_than_a_round_has_one_of_its_own() -> None:
    large, small = Transfer(0, 1, 0, "a", 0, 100), Transfer(0, 1, 1, "a", 0, 1)
    assert in_rounds([large, small], limit=10) == [[large], [small]]


@given(st.lists(st.sampled_from("pqrs"), min_size=1, max_size=12))
def test_a_keeper_is_in_another_pod_wherever_there_is_one(pods: list[str]) -> None:
    for rank, keeper in enumerate(keepers_of(pods)):
        assert (keeper is None) == (len(set(pods)) == 1)
        assert keeper is None or pods[keeper] != pods[rank]


def test_ranks_of_a_pod_share_the_work_with_those_of_the_next() -> None:
    assert keepers_of(["a", "a", "b", "b", "c", "c"]) == [2, 3, 4, 5, 0, 1]
    assert keepers_of(["a", "a", "b"]) == [2, 2, 0]


def test_a_keeper_gets_whole_files() -> None:
    size = transfers.PIECE_BYTES + 1
    found = list(to_keepers([1, None], [[("a", size), ("b", 1)], [("c", 1)]]))
    assert [(t.source, t.target, t.key, t.start, t.end) for t in found] == [
        (0, 1, "a", 0, size - 1),
        (0, 1, "a", size - 1, size),
        (0, 1, "b", 0, 1),
    ]
