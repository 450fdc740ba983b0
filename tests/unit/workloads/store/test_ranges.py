"""Merging and splitting of byte ranges loses no byte and asks for little more than was wanted."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.store.interface import ByteRange
from deepseek_workloads.store.ranges import plan_ranges

OBJECTS = {key: bytes((index * 7 + len(key) * 31) % 251 for index in range(400)) for key in ("a", "b", "c")}

RANGES = st.lists(
    st.builds(
        lambda key, start, length: ByteRange(key, start, min(400, start + length)),
        st.sampled_from(sorted(OBJECTS)),
        st.integers(0, 399),
        st.integers(0, 120),
    ),
    max_size=20,
)


@given(RANGES, st.integers(0, 50), st.integers(1, 100))
def test_the_assembled_bytes_are_the_asked_bytes(
    ranges: list[ByteRange], max_gap: int, max_request: int
) -> None:
    plan = plan_ranges(ranges, max_gap=max_gap, max_request=max_request)
    answers = [OBJECTS[request.key][request.start : request.end] for request in plan.requests]
    assert plan.assemble(answers) == [OBJECTS[asked.key][asked.start : asked.end] for asked in ranges]


@given(RANGES, st.integers(0, 50), st.integers(1, 100))
def test_requests_are_bounded_disjoint_and_not_empty(
    ranges: list[ByteRange], max_gap: int, max_request: int
) -> None:
    requests = plan_ranges(ranges, max_gap=max_gap, max_request=max_request).requests
    assert all(0 < request.end - request.start <= max_request for request in requests)
    for key in OBJECTS:
        ordered = sorted((request.start, request.end) for request in requests if request.key == key)
        assert all(before[1] <= after[0] for before, after in pairwise(ordered))


def test_pinned_and_unpinned_ranges_are_not_merged() -> None:
    plan = plan_ranges([ByteRange("a", 0, 10, "etag"), ByteRange("a", 10, 20)])
    assert len(plan.requests) == 2
