"""A group that is started again loads from its pods' memory what they hold, from the store what they do not.

Three pods of one rank each. What counts: the state is right to the bit, and which objects the store was asked
for. The checkpoint's index is rank 0's to read: from its own pod or from the store.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from rank_pool import RankPool
from replica_cases import SHARDED, WHOLE, Damage, Outcome, Wish, load, save_and_load

PODS = 3
CASES = {
    "nothing is lost": Damage(),
    "a pod is another": Damage(lost=(1,)),
    "rank 0's pod is another": Damage(lost=(0,)),
    "two pods are others": Damage(lost=(0, 1)),
    "a memory is wrong": Damage(flipped=(0,)),
    "all memory is lost": Damage(lost=(0, 1, 2)),
}
LAYOUT_CHANGES = "the layout is another"


def index_of(files: list[str]) -> set[str]:
    return {key for key in files if key.endswith("/metadata.json")}


def of_rank(rank: int, keys: frozenset[str] | list[str]) -> set[str]:
    return {key for key in keys if f"/rank{rank:05d}-" in key}


@pytest.fixture(scope="module")
def wish(tmp_path_factory: pytest.TempPathFactory) -> Wish:
    loads = (*((damage, SHARDED) for damage in CASES.values()), (Damage(lost=(2,)), WHOLE))
    return Wish(str(tmp_path_factory.mktemp("replicas")), saves=2, loads=loads)


@pytest.fixture(scope="module")
def done(wish: Wish, pool: RankPool) -> tuple[list[str], list[Outcome]]:
    found: tuple[list[str], list[Outcome]] = pool.run(save_and_load, ranks=PODS, argument=wish)
    return found


@pytest.fixture(scope="module")
def files(done: tuple[list[str], list[Outcome]]) -> list[str]:
    assert all(len(of_rank(rank, done[0])) > 1 for rank in range(PODS))
    return done[0]


@pytest.fixture(scope="module")
def outcomes(done: tuple[list[str], list[Outcome]]) -> dict[str, Outcome]:
    return dict(zip([*CASES, LAYOUT_CHANGES], done[1], strict=True))


@pytest.mark.parametrize("case", [*CASES, LAYOUT_CHANGES])
def test_the_state_is_right_to_the_bit_whatever_the_memory_holds(
    case: str, outcomes: dict[str, Outcome]
) -> None:
    assert outcomes[case].equal


@pytest.mark.parametrize("case", ["nothing is lost", "a pod is another", LAYOUT_CHANGES])
def test_the_loss_of_one_pod_asks_the_store_for_nothing(case: str, outcomes: dict[str, Outcome]) -> None:
    assert outcomes[case].read == frozenset()
    assert outcomes[case].from_memory > 0


def test_the_store_is_asked_for_what_no_pod_holds(outcomes: dict[str, Outcome], files: list[str]) -> None:
    assert outcomes["rank 0's pod is another"].read == index_of(files)
    kept_by_pods_0_and_1 = of_rank(0, files)
    assert outcomes["two pods are others"].read == kept_by_pods_0_and_1 | index_of(files)
    assert outcomes["all memory is lost"].read == set(files)
    assert outcomes["all memory is lost"].from_memory == 0


def test_wrong_bytes_are_read_from_the_store(outcomes: dict[str, Outcome], files: list[str]) -> None:
    """Of pod 0: its own files, which are those that rank 0 loads, and the index."""
    assert outcomes["a memory is wrong"].read == of_rank(0, files) | index_of(files)


def test_fewer_processes_go_on_from_the_memory_of_those_that_are_left(
    wish: Wish, files: list[str], pool: RankPool
) -> None:
    fewer = replace(wish, loads=((Damage(), SHARDED),))
    (outcome,) = pool.run(load, ranks=PODS - 1, argument=fewer)
    assert outcome.equal
    assert outcome.read == frozenset()


def test_with_one_copy_a_lost_pod_costs_reads_of_its_own_files(tmp_path: Path, pool: RankPool) -> None:
    """Without a copy ahead (`sync`), the files are laid out once more for the memory."""
    wish = Wish(str(tmp_path), copies=1, mode="sync", loads=((Damage(lost=(1,)), SHARDED),))
    files, (outcome,) = pool.run(save_and_load, ranks=PODS, argument=wish)
    assert outcome.equal
    assert outcome.read == of_rank(1, files)
