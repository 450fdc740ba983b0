"""A micro-batch size that was found holds under the conditions it was found under, and no others."""

from pathlib import Path
from typing import Any

import pytest

from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import StoreUnavailable
from deepseek_workloads.train.found_batch_size import KEY, Conditions, keep, recalled

HERE = Conditions(
    run_config_digest="sha256:0",
    world_size=4,
    memory_bytes=2**30,
    device="cpu",
    torch="2.0.0",
    program="sha256:1",
)


@pytest.fixture
def store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


def test_nothing_is_known_before_anybody_has_measured(store: FileObjectStore) -> None:
    assert recalled(store, HERE, checkpoint=7) is None


def test_the_newest_is_known_under_its_conditions(store: FileObjectStore) -> None:
    assert keep(store, HERE, 12, checkpoint=0) is None
    assert keep(store, HERE, 10, checkpoint=0) is None
    assert recalled(store, HERE, checkpoint=2) == 10


@pytest.mark.parametrize("begun", [0, 5])
def test_one_whose_start_wrote_no_checkpoint_is_not_trusted(store: FileObjectStore, begun: int) -> None:
    """It may have been killed for the memory that it took."""
    keep(store, HERE, 12, checkpoint=begun)
    assert recalled(store, HERE, checkpoint=begun) is None
    assert recalled(store, HERE, checkpoint=begun + 1) == 12


@pytest.mark.parametrize(
    "change",
    [
        {"run_config_digest": "sha256:1"},
        {"world_size": 2},
        {"memory_bytes": 2**31},
        {"device": "NVIDIA H200"},
        {"torch": "1.0.0"},
        {"program": "sha256:2"},
    ],
    ids=str,
)
def test_under_others_it_is_measured_anew(store: FileObjectStore, change: dict[str, Any]) -> None:
    keep(store, HERE, 12, checkpoint=0)
    assert recalled(store, HERE.model_copy(update=change), checkpoint=2) is None


def test_what_cannot_be_read_is_measured_anew(store: FileObjectStore) -> None:
    store.put(KEY, b"{}")
    assert recalled(store, HERE, checkpoint=2) is None


def test_a_store_that_is_away_costs_a_warning_only(
    store: FileObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(store, "put", away)
    assert "the store does not answer" in str(keep(store, HERE, 12, checkpoint=0))
