"""What to tell a user in Events: the differences of two statuses, in words. It sends nothing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ResourceEvent:
    """`occasion` tells two events of the same words apart, for instance by the pod or the epoch."""

    type: Literal["Normal", "Warning"]
    reason: str  # CamelCase
    note: str
    action: str = "Reconcile"
    occasion: str = ""
