"""Slots are given out once each, and come back."""

from pathlib import Path

import pytest

from local_kubernetes import slots
from local_kubernetes.errors import LocalKubernetesError
from local_kubernetes.settings import SLOTS


@pytest.fixture(autouse=True)
def claims(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(slots, "_CLAIMS", tmp_path)


def test_each_state_folder_has_one_slot_and_keeps_it() -> None:
    first, second = slots.claim(Path("/a")), slots.claim(Path("/b"))
    assert first != second
    assert slots.claim(Path("/a")) == first
    assert slots.find(Path("/b")) == second
    assert slots.others(Path("/a")) == [Path("/b")]


def test_a_released_slot_is_given_out_again() -> None:
    slot = slots.claim(Path("/a"))
    slots.claim(Path("/b"))
    assert slots.release(Path("/a")) is False
    assert slots.find(Path("/a")) is None
    assert slots.claim(Path("/c")) == slot


def test_the_last_release_says_so() -> None:
    slots.claim(Path("/a"))
    assert slots.release(Path("/a")) is True
    assert slots.release(Path("/never")) is True


def test_when_all_are_taken_the_holders_are_named() -> None:
    for number in range(SLOTS):
        slots.claim(Path(f"/cluster-{number}"))
    with pytest.raises(LocalKubernetesError, match=r"/cluster-0.*down --state"):
        slots.claim(Path("/one-more"))
