"""How a rank of Horovod is placed, and what its end means."""

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.launch.horovod_protocol import (
    Ending,
    Slot,
    conclusion,
    ending_of,
    rank_environment,
)

SLOT = Slot(hostname="pod-b", rank=3, local_rank=1, cross_rank=1, size=4, local_size=2, cross_size=2)
DONE = Verdict(outcome="Succeeded", reason=reasons.COMPLETED)


def failed(kind: str, *, rank: int) -> Ending:
    failure = Failure.model_validate({"kind": kind, "reason": kind, "rank": rank})
    return Ending(rank=rank, failure=failure)


def test_a_rank_is_told_its_place_and_the_rendezvous() -> None:
    environ = rank_environment(SLOT, rendezvous_host="10.0.0.1", rendezvous_port=8082)
    assert (environ["HOROVOD_RANK"], environ["HOROVOD_SIZE"]) == ("3", "4")
    assert (environ["HOROVOD_LOCAL_RANK"], environ["HOROVOD_LOCAL_SIZE"]) == ("1", "2")
    assert (environ["HOROVOD_CROSS_RANK"], environ["HOROVOD_CROSS_SIZE"]) == ("1", "2")
    assert environ["HOROVOD_HOSTNAME"] == "pod-b"
    address = (environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"], environ["HOROVOD_GLOO_RENDEZVOUS_PORT"])
    assert address == ("10.0.0.1", "8082")


def test_a_rank_that_left_a_word_is_believed() -> None:
    word = Ending(rank=1, verdict=DONE)
    assert ending_of(1, exit_code=0, document=word.to_json()) == word


@pytest.mark.parametrize("document", [None, b"", b'{"rank": 1, "verd'])
@pytest.mark.parametrize(
    ("exit_code", "kind", "reason"),
    [
        (134, "try-again", reasons.PEER_LOST),  # Horovod aborts when a peer does not come to the rendezvous
        (137, "failed", reasons.PROCESS_CRASHED),
        (139, "failed", reasons.PROCESS_CRASHED),
        (1, "failed", reasons.PROCESS_CRASHED),
    ],
)
def test_a_rank_that_left_none_is_judged_by_its_exit_code(
    document: bytes | None, exit_code: int, kind: str, reason: str
) -> None:
    failure = ending_of(1, exit_code=exit_code, document=document).failure
    assert failure is not None
    assert (failure.kind, failure.reason, failure.rank) == (kind, reason, 1)


def test_the_verdict_of_rank_0_is_the_runs() -> None:
    assert conclusion({0: Ending(rank=0, verdict=DONE)}, world_size=2) == DONE


def test_another_ranks_verdict_is_none_yet() -> None:
    assert conclusion({1: Ending(rank=1, verdict=DONE)}, world_size=2) is None


def test_a_failure_waits_for_one_that_explains_it() -> None:
    lost, crashed = failed("try-again", rank=0), failed("failed", rank=1)
    assert conclusion({0: lost}, world_size=2) is None
    assert conclusion({0: lost, 1: crashed}, world_size=2) == [lost.failure, crashed.failure]


def test_a_final_failure_needs_no_explanation() -> None:
    final = failed("final", rank=1)
    assert conclusion({1: final}, world_size=8) == [final.failure]
