"""Lists of dropped documents: what is written for a part is what is read for it."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.dropped import dropped_documents, put_dropped
from deepseek_workloads.store.open import open_store

NUMBERS = st.lists(st.integers(0, 2**32 - 1), max_size=5, unique=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=4), st.integers(0, 3), NUMBERS)
def test_each_part_gets_what_was_dropped_of_it_by_every_stage(make_run, by_part, first_part, others) -> None:
    context = Context(run=make_run(), attempt="attempt", open_store=open_store)
    with context.output() as store:
        arrays = [np.array(numbers, dtype=np.uint32) for numbers in by_part]
        records = [
            put_dropped(context, store, arrays, stage="one", number=0, first_part=first_part),
            put_dropped(
                context, store, [np.array(others, dtype=np.uint32)], stage="two", number=2, first_part=2
            ),
        ]
        for part in range(9):
            at = part - first_part
            expected = [*(by_part[at] if 0 <= at < len(by_part) else []), *(others if part == 2 else [])]
            assert dropped_documents(store, records, part=part).tolist() == expected
