"""Which pods are created and deleted, given those that are there."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.reconcile.pod_changes import (
    NewPod,
    is_active,
    keep_running,
    remove_surplus,
    tear_down,
)
from deepseek_operator.status.observed import ContainerExit, PodFacts

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)


def coordinator(incarnation: int = 1, **facts: object) -> PodFacts:
    return _pod("coordinator", 0, incarnation, facts)


def worker(index: int, incarnation: int = 1, **facts: object) -> PodFacts:
    return _pod("worker", index, incarnation, facts)


def _pod(role: str, index: int, incarnation: int, facts: dict[str, object]) -> PodFacts:
    name = f"{role}-{index}-{incarnation}"
    defaults: dict[str, object] = {"phase": "Running", "node": "node-1", "created_at": EARLIER}
    return PodFacts(name=name, uid=f"uid-{name}", role=role, index=index, incarnation=incarnation,
                    **(defaults | facts))  # type: ignore[arg-type]  # fmt: skip


def crashed(seconds_ago: float = 0, exit_code: int = 1, reason: str = "Error") -> dict[str, object]:
    finished = NOW - timedelta(seconds=seconds_ago)
    return {"phase": "Failed", "exit": ContainerExit(exit_code, reason=reason, finished_at=finished)}


READY = {"ready": True}
DELETING = {"deleting": True, "grace_ends_at": NOW + timedelta(seconds=20)}


def _created(pods: tuple[PodFacts, ...], num_workers: int = 2) -> list[tuple[str, int, int]]:
    changes = keep_running(pods, num_workers=num_workers, now=NOW)
    return [(pod.role, pod.index, pod.incarnation) for pod in changes.create]


def test_the_coordinator_comes_first() -> None:
    assert _created(()) == [("coordinator", 0, 1)]


def test_workers_wait_until_the_preflight_has_passed() -> None:
    assert _created((coordinator(ready=False),)) == []
    assert _created((coordinator(ready=True),)) == [("worker", 0, 1), ("worker", 1, 1)]


def test_a_complete_set_is_left_alone() -> None:
    changes = keep_running((coordinator(ready=True), worker(0), worker(1)), num_workers=2, now=NOW)
    assert (changes.create, changes.delete, changes.after) == ((), (), None)


def test_a_crashed_worker_is_replaced_and_its_failure_is_handed_on() -> None:
    bad = worker(1, 3, failures=0, **crashed())
    changes = keep_running((coordinator(ready=True), worker(0), bad), num_workers=2, now=NOW)
    assert changes.create == (NewPod("worker", 1, incarnation=4, failures=1),)
    assert changes.delete == (bad,)


@pytest.mark.parametrize(
    "facts",
    [
        DELETING,
        {"disruption": "DeletionByTaintManager", **DELETING},
        {"phase": "Failed", "disruption": "PreemptionByScheduler"},
        {"phase": "Failed", "reason": "Evicted"},
    ],
)
def test_a_lost_worker_is_replaced_without_counting(facts: dict[str, object]) -> None:
    pods = (coordinator(ready=True), worker(0, failures=1, **facts), worker(1))
    changes = keep_running(pods, num_workers=2, now=NOW)
    assert changes.create == (NewPod("worker", 0, incarnation=2, failures=1),)


def test_a_pod_that_hangs_on_a_lost_node_is_neither_waited_for_nor_deleted_again() -> None:
    changes = keep_running((coordinator(**DELETING),), num_workers=1, now=NOW)
    assert changes.create == (NewPod("coordinator", 0, incarnation=2, failures=0),)
    assert changes.delete == ()


def test_workers_stay_while_the_coordinator_is_replaced() -> None:
    pods = (coordinator(1, **crashed()), worker(0), worker(1))
    changes = keep_running(pods, num_workers=2, now=NOW)
    assert [pod.role for pod in changes.create] == ["coordinator"]
    assert [pod.role for pod in changes.delete] == ["coordinator"]


def test_a_worker_that_was_sent_home_is_not_replaced_while_the_run_is_ending() -> None:
    home = worker(0, **crashed(seconds_ago=1, exit_code=0, reason="Completed"))
    changes = keep_running((coordinator(ready=True), home), num_workers=1, now=NOW)
    assert (changes.create, changes.delete, changes.after) == ((), (), 9.0)


def test_a_worker_that_was_sent_home_is_replaced_when_the_run_goes_on_after_all() -> None:
    home = worker(0, **crashed(seconds_ago=11, exit_code=0, reason="Completed"))
    assert _created((coordinator(ready=True), home), num_workers=1) == [("worker", 0, 2)]


def test_a_pod_that_waits_for_a_node_is_not_replaced() -> None:
    pending = worker(0, phase="Pending", node="", unschedulable="0/3 nodes have a free GPU")
    assert _created((coordinator(ready=True), pending), num_workers=1) == []


def test_of_two_active_pods_in_one_place_the_older_goes() -> None:
    changes = keep_running((coordinator(1, ready=True), coordinator(2)), num_workers=0, now=NOW)
    assert [pod.incarnation for pod in changes.delete] == [1]
    assert changes.create == ()


@pytest.mark.parametrize(("failures", "wait"), [(0, None), (1, 2.0), (2, 4.0), (5, 32.0), (9, 60.0)])
def test_replacements_of_failing_pods_come_ever_slower(failures: int, wait: float | None) -> None:
    changes = keep_running((coordinator(2, failures=failures, **crashed()),), num_workers=0, now=NOW)
    assert changes.after == wait
    assert bool(changes.create) == (wait is None)


def test_a_failure_whose_time_nobody_knows_does_not_wait_for_ever() -> None:
    assert _created((coordinator(2, failures=3, phase="Failed", reason="Error"),), 0) == [
        ("coordinator", 0, 3)
    ]


def test_the_coordinator_is_deleted_after_the_workers() -> None:
    first = tear_down((coordinator(), worker(0)), now=NOW, keep_ended_coordinator=False)
    assert [pod.role for pod in first.delete] == ["worker"]
    second = tear_down((coordinator(), worker(0, **DELETING)), now=NOW, keep_ended_coordinator=False)
    assert (second.delete, second.after) == ((), 20.0)
    third = tear_down((coordinator(),), now=NOW, keep_ended_coordinator=False)
    assert [pod.role for pod in third.delete] == ["coordinator"]


def test_a_worker_on_a_lost_node_holds_the_coordinator_only_for_its_grace() -> None:
    late = worker(0, deleting=True, grace_ends_at=NOW - timedelta(seconds=1))
    changes = tear_down((coordinator(), late), now=NOW, keep_ended_coordinator=False)
    assert [pod.role for pod in changes.delete] == ["coordinator"]


def test_the_last_coordinator_stays_for_its_logs() -> None:
    pods = (coordinator(1, **crashed()), coordinator(2, phase="Succeeded", exit=ContainerExit(0)))
    changes = tear_down(pods, now=NOW, keep_ended_coordinator=True)
    assert [pod.incarnation for pod in changes.delete] == [1]


_FACTS = st.sampled_from(
    [{}, READY, DELETING, crashed(100), crashed(0), {"phase": "Pending", "node": ""},
     {"phase": "Failed", "reason": "Evicted"}, {"phase": "Succeeded", "exit": ContainerExit(0)}]
)  # fmt: skip
_POD = st.builds(
    lambda role, index, incarnation, facts: _pod(role, index if role == "worker" else 0, incarnation, facts),
    st.sampled_from(["coordinator", "worker"]), st.integers(0, 2), st.integers(1, 4), _FACTS,
)  # fmt: skip
_PODS = st.lists(_POD, max_size=10, unique_by=lambda pod: pod.name).map(tuple)


@given(pods=_PODS, num_workers=st.integers(0, 3))
def test_no_place_ever_has_two_active_pods_and_no_name_is_used_twice(
    pods: tuple[PodFacts, ...], num_workers: int
) -> None:
    changes = keep_running(pods, num_workers=num_workers, now=NOW)
    names = {pod.name for pod in pods}
    for new in changes.create:
        assert f"{new.role}-{new.index}-{new.incarnation}" not in names
        assert not [pod for pod in pods if (pod.role, pod.index) == (new.role, new.index) and is_active(pod)]
    assert len({(new.role, new.index) for new in changes.create}) == len(changes.create)
    for pod in changes.delete:
        assert not pod.deleting


@given(pods=_PODS, keep=st.booleans())
def test_tearing_down_ends_with_nothing_active(pods: tuple[PodFacts, ...], keep: bool) -> None:
    now, left = NOW, {pod.name: pod for pod in pods}
    for _ in range(10):
        changes = tear_down(tuple(left.values()), now=now, keep_ended_coordinator=keep)
        for pod in changes.delete:
            left.pop(pod.name)
        now += timedelta(seconds=changes.after or 0)
    assert not [pod for pod in left.values() if is_active(pod)]


def test_workers_beyond_the_wanted_number_are_surplus() -> None:
    pods = (coordinator(**READY), worker(0), worker(1), worker(2, **DELETING))
    assert remove_surplus(pods, num_workers=1).delete == (worker(1),)


@pytest.mark.parametrize(("lived", "failures", "wait"), [(700, 1, None), (500, 6, 32.0)])
def test_who_lived_long_enough_is_forgiven_earlier_failures(
    lived: int, failures: int, wait: float | None
) -> None:
    ended = worker(0, 6, failures=5, created_at=NOW - timedelta(seconds=lived), **crashed())
    changes = keep_running(
        (coordinator(**READY), ended), num_workers=1, now=NOW, forgive_after=timedelta(seconds=600)
    )
    assert changes.after == wait
    assert [pod.failures for pod in changes.create] == ([failures] if wait is None else [])
