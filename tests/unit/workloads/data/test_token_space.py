import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.token_space import TokenSpace, count_windows


def _shard(tokens: int) -> Shard:
    return Shard(
        key="k",
        dtype="uint16",
        tokens=tokens,
        documents=1,
        size=2 * tokens,
        chunk_tokens=8,
        chunk_checksums=[],
        document_offsets_key="o",
        document_offsets_checksum="c",
    )


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.data())
def test_segments_are_the_asked_tokens_in_order(sizes: list[int], data: st.DataObject) -> None:
    line = [(shard, offset) for shard, size in enumerate(sizes) for offset in range(size)]
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, len(line)))
    segments = TokenSpace([_shard(size) for size in sizes]).segments(start, end)
    assert [(s.shard, o) for s in segments for o in range(s.start, s.end)] == line[start:end]


def test_tokens_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outside of 0\.\.5"):
        TokenSpace([_shard(5)]).segments(2, 6)


@pytest.mark.parametrize(("tokens", "windows"), [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_last_partial_window_is_dropped(tokens: int, windows: int) -> None:
    assert count_windows(tokens, sequence_length=4) == windows
