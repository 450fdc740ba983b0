"""Turns many small byte ranges into few large requests, and the answers back. Pure; it knows no protocol.

Object stores charge a round trip and about 2 ms of client CPU for each request, and deliver a single stream
slower than several: neighbours are merged, and what is large is split.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_workloads.store.interface import ByteRange

MAX_GAP = 128 * 1024  # bytes: reading them and throwing them away costs less than a request
MAX_REQUEST = 16 * 1024 * 1024  # bytes


@dataclass(frozen=True)
class RangePlan:
    requests: tuple[ByteRange, ...]
    # For each asked range the pieces it is made of: (index of the request, start and end within its answer).
    pieces: tuple[tuple[tuple[int, int, int], ...], ...]

    def assemble(self, answers: Sequence[bytes]) -> list[bytes]:
        """The bytes of each asked range, in the order in which they were asked for."""
        return [_join([answers[index][start:end] for index, start, end in pieces]) for pieces in self.pieces]


def plan_ranges(
    ranges: Sequence[ByteRange], *, max_gap: int = MAX_GAP, max_request: int = MAX_REQUEST
) -> RangePlan:
    """Raises ValueError for a range that ends before it starts."""
    for asked in ranges:
        if not 0 <= asked.start <= asked.end:
            raise ValueError(f"{asked.key}: bytes {asked.start} to {asked.end} are no range")
    requests: list[ByteRange] = []
    pieces: list[list[tuple[int, int, int]]] = [[] for _ in ranges]
    order = sorted(
        (index for index, asked in enumerate(ranges) if asked.end > asked.start),
        key=lambda index: (ranges[index].key, ranges[index].etag or "", ranges[index].start),
    )
    for run in _runs([(index, ranges[index]) for index in order], max_gap):
        first, end = run[0][1], max(asked.end for _, asked in run)
        base = len(requests)
        starts = range(first.start, end, max_request)
        requests += [ByteRange(first.key, s, min(s + max_request, end), first.etag) for s in starts]
        for index, asked in run:
            pieces[index] += _pieces(asked, requests[base:], base)
    return RangePlan(tuple(requests), tuple(tuple(piece) for piece in pieces))


def _runs(ordered: list[tuple[int, ByteRange]], max_gap: int) -> list[list[tuple[int, ByteRange]]]:
    """Groups of ranges of one object whose gaps are at most `max_gap`."""
    runs: list[list[tuple[int, ByteRange]]] = []
    end = 0
    for index, asked in ordered:
        last = runs[-1][-1][1] if runs else None
        if last and (asked.key, asked.etag) == (last.key, last.etag) and asked.start - end <= max_gap:
            runs[-1].append((index, asked))
            end = max(end, asked.end)
        else:
            runs.append([(index, asked)])
            end = asked.end
    return runs


def _pieces(asked: ByteRange, requests: Sequence[ByteRange], base: int) -> list[tuple[int, int, int]]:
    return [
        (
            base + index,
            max(asked.start, request.start) - request.start,
            min(asked.end, request.end) - request.start,
        )
        for index, request in enumerate(requests)
        if request.start < asked.end and asked.start < request.end
    ]


def _join(pieces: list[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
