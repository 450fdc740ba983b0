"""What a serving run shows of its replicas."""

from deepseek_workloads.contract.messages import ServingProgress
from deepseek_workloads.supervise.serving_figures import merged


def test_the_driver_counts_replicas_and_each_replica_its_requests() -> None:
    driver = ServingProgress(replicas=3, ready_replicas=2, checked=True)
    replicas = [
        ServingProgress(checked=True, bits_per_byte=2.5, requests=4, running=1, queued=2),
        ServingProgress(
            checked=True, bits_per_byte=2.5, bits_per_byte_on_baseline=2.0, requests=6, running=2
        ),
    ]

    assert merged(driver, replicas) == ServingProgress(
        replicas=3,
        ready_replicas=2,
        checked=True,
        bits_per_byte=2.5,
        bits_per_byte_on_baseline=2.0,
        requests=10,
        running=3,
        queued=2,
    )


def test_while_the_driver_starts_again_replicas_speak_for_themselves() -> None:
    shown = merged(None, [ServingProgress(checked=True, requests=4)])

    assert shown is not None
    assert (shown.checked, shown.requests) == (True, 4)


def test_other_runs_have_nothing_of_it() -> None:
    assert merged(None, []) is None
