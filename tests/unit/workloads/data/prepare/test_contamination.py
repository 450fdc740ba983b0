import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import Decontaminate
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare import contamination
from deepseek_workloads.data.prepare.contamination import collect_ngrams, known_among
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.store.open import open_store

NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 8), max_size=12)


@given(NUMBERS, NUMBERS)
def test_known_hashes_are_found_wherever_they_are(hashes: list[int], known: list[int]) -> None:
    found = known_among(np.array(hashes, dtype=np.uint64), np.unique(np.array(known, dtype=np.uint64)))
    assert found.tolist() == [at for at, each in enumerate(hashes) if each in known]


def test_an_evaluation_set_that_grows_beyond_what_a_task_holds_is_refused(
    make_run, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(contamination, "MAX_EVALUATION_BYTES", 100)
    (tmp_path / "questions.txt.gz").write_bytes(gzip.compress(b"again " * 100))
    settings = Decontaminate(uris=[f"file://{tmp_path}/questions.txt.gz"])
    context = Context(run=make_run(), attempt="a", open_store=open_store)
    with pytest.raises(DatasetError, match=r"questions.txt.gz: more than 100 bytes once decompressed: split"):
        collect_ngrams(context, "unseen_ngrams", settings, 0)
