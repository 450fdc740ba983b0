"""What is lost of conversations that are longer than a sequence is counted and said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.cursor import DocumentStarts, SamplePlan
from deepseek_workloads.data.long_conversations import LongConversations, measure
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.windows import pack


def measured(
    sizes: list[int], *, sequence_length: int = 4, dropped: bool = False
) -> LongConversations | None:
    starts = np.cumsum([0, *sizes], dtype=np.int64)
    return measure("chat", starts, sequence_length=sequence_length, dropped=dropped)


def test_where_all_fit_there_is_nothing_to_say() -> None:
    assert measured([1, 5, 5]) is None
    assert measured([]) is None


def test_what_is_cut_off_is_said_with_the_length_that_would_lose_nothing() -> None:
    assert str(measured([5, 9, 6])) == (
        "data source 'chat': 2 of 3 conversations are longer than 5 tokens and are cut at "
        "data.sequenceLength + 1: 5 of 20 tokens (25.0%) are not trained on; none would be lost with "
        "sequenceLength 8, or data.longConversations drop or refuse"
    )


def test_what_is_dropped_is_lost_whole() -> None:
    found = measured([5, 9, 6], dropped=True)
    assert found is not None
    assert (found.long, found.lost_tokens, found.lost_share) == (2, 15, 0.75)


def planned(sizes: list[int], write_dataset, new_store, make_data, **settings) -> SamplePlan:
    starts = np.cumsum([0, *sizes], dtype=np.int64)
    manifest = write_dataset(new_store("a"), [sum(sizes)])
    documents = [DocumentStarts(starts, np.zeros(1, dtype=np.int64))]
    bucketed = 2 if settings.pop("bucketed") else None
    data = make_data().model_copy(update=settings)
    return SamplePlan(data, [manifest], documents, bucketed=bucketed)


@pytest.mark.parametrize("bucketed", [False, True])
def test_where_all_are_dropped_the_length_that_keeps_one_is_named(
    bucketed, write_dataset, new_store, make_data
) -> None:
    fixtures = (write_dataset, new_store, make_data)
    with pytest.raises(DatasetError, match=r"all its 2 training .* drop: use a sequenceLength of at least 6"):
        planned([9, 7], *fixtures, bucketed=bucketed, long_conversations="drop")
    kept = planned([9, 7], *fixtures, bucketed=bucketed, long_conversations="drop", sequence_length=6)
    assert kept.sources[0].windows.count == 1


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(2, 12), st.booleans())
def test_what_is_not_lost_is_in_the_windows(sizes: list[int], sequence_length: int, dropped: bool) -> None:
    windows = pack(np.cumsum([0, *sizes], dtype=np.int64), sequence_length=sequence_length)
    windows = windows.without_cut() if dropped else windows
    found = measured(sizes, sequence_length=sequence_length, dropped=dropped)
    kept = int(windows.sizes(np.arange(windows.count)).sum())
    assert kept == sum(sizes) - (found.lost_tokens if found is not None else 0)
