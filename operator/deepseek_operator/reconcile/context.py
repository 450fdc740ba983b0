"""What every reconcile function works with. No decisions."""

from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.cluster.interface import Clock, Cluster, Coordinators
from deepseek_operator.reconcile.dependencies import Dependencies
from deepseek_operator.reconcile.plan import Intervals
from deepseek_operator.reconcile.resync import Resync
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.status.size import Patience


@dataclass(frozen=True)
class Context:
    cluster: Cluster
    coordinators: Coordinators
    clock: Clock
    dependencies: Dependencies
    build: BuildSettings
    operator_key: bytes  # tokens of runs are derived from it
    operator_name: str  # of this process, in Events
    operator_since: datetime  # when it got the Lease
    intervals: Intervals
    resync: Resync
    patience: Patience
