"""Who sends which bytes to whom, in rounds that bound what is in memory. Pure: all ranks compute the same."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deepseek_workloads.store.interface import ByteRange

PIECE_BYTES = 16 * 1024 * 1024
ROUND_BYTES = 64 * 1024 * 1024  # that a rank sends, and that it gets, at a time


@dataclass(frozen=True)
class Transfer:
    source: int  # rank
    target: int
    number: int  # of what the target asked for
    key: str
    start: int
    end: int


Rounds = Sequence[Sequence[Transfer]]


def asked_of_holders(
    held: Sequence[frozenset[str]], asked: Sequence[Sequence[ByteRange]]
) -> Iterator[Transfer]:
    """`held`: the keys that each rank's pod holds; `asked`: what each rank wants of others. What several
    ranks could send is spread over them."""
    holders: dict[str, list[int]] = defaultdict(list)
    for rank, keys in enumerate(held):
        for key in keys:
            holders[key].append(rank)
    for target, ranges in enumerate(asked):
        for number, wanted in enumerate(ranges):
            sources = holders[wanted.key]
            source = sources[(target + number) % len(sources)]
            yield from _pieces(source, target, number, wanted)


def to_keepers(
    keepers: Sequence[int | None], files: Sequence[Sequence[tuple[str, int]]]
) -> Iterator[Transfer]:
    """`files`: of each rank, by key and size; its keeper gets them all."""
    for source, (keeper, own) in enumerate(zip(keepers, files, strict=True)):
        if keeper is not None:
            for number, (key, size) in enumerate(own):
                yield from _pieces(source, keeper, number, ByteRange(key, 0, size))


def keepers_of(pods: Sequence[str]) -> list[int | None]:
    """By rank the one in the next pod, in the order of their first ranks, that keeps its files, too. None:
    there is no other pod."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, pod in enumerate(pods):
        ranks[pod].append(rank)
    order = list(ranks)
    if len(order) == 1:
        return [None] * len(pods)
    following = dict(zip(order, order[1:] + order[:1], strict=True))
    return [
        ranks[following[pod]][ranks[pod].index(rank) % len(ranks[following[pod]])]
        for rank, pod in enumerate(pods)
    ]


def in_rounds(transfers: Iterable[Transfer], *, limit: int = ROUND_BYTES) -> list[list[Transfer]]:
    """In each round a rank sends at most `limit` bytes and gets at most as many."""
    rounds: list[list[Transfer]] = []
    loads: dict[tuple[str, int, int], int] = defaultdict(int)  # by what it does, rank and round
    newest: dict[tuple[str, int], int] = defaultdict(int)  # rounds
    for transfer in transfers:
        size = transfer.end - transfer.start
        ends = (("sends", transfer.source), ("gets", transfer.target))
        at = max(newest[end] for end in ends)
        while any(0 < loads[(*end, at)] > limit - size for end in ends):
            at += 1
        for end in ends:
            loads[(*end, at)] += size
            newest[end] = at
        rounds += [[] for _ in range(at + 1 - len(rounds))]
        rounds[at].append(transfer)
    return rounds


def _pieces(source: int, target: int, number: int, wanted: ByteRange) -> Iterator[Transfer]:
    for start in range(wanted.start, wanted.end, PIECE_BYTES):
        end = min(start + PIECE_BYTES, wanted.end)
        yield Transfer(source, target, number, wanted.key, start, end)
