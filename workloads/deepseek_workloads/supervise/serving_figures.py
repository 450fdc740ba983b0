"""One set of figures from those of the driver and of every replica. Pure."""

from collections.abc import Sequence

from deepseek_workloads.contract.messages import ServingProgress


def merged(driver: ServingProgress | None, replicas: Sequence[ServingProgress]) -> ServingProgress | None:
    """The driver knows how many replicas there should be, each replica what it did and found."""
    if driver is None and not replicas:
        return None
    base = driver or ServingProgress()
    return base.model_copy(
        update={
            "checked": base.checked or any(replica.checked for replica in replicas),
            "bits_per_byte": _first([replica.bits_per_byte for replica in replicas], base.bits_per_byte),
            "bits_per_byte_on_baseline": _first(
                [replica.bits_per_byte_on_baseline for replica in replicas], base.bits_per_byte_on_baseline
            ),
            "requests": sum(replica.requests for replica in replicas),
            "running": sum(replica.running for replica in replicas),
            "queued": sum(replica.queued for replica in replicas),
        }
    )


def _first(values: Sequence[float | None], default: float | None) -> float | None:
    """Replicas of one revision measure the same."""
    return next((value for value in values if value is not None), default)
