"""A standby pod: it waits for a node as a worker would, and holds it until the run is resized."""

from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.pod import Member, build_pod
from deepseek_operator.resources.pod_set import PodSet
from deepseek_workloads.contract.environment import ROLE_STANDBY


def build_standby_pod(pod_set: PodSet, *, index: int, incarnation: int, failures: int = 0) -> Document:
    """`index` is that of the worker whose node it holds."""
    return build_pod(
        pod_set,
        member=Member(
            role=ROLE_STANDBY,
            index=index,
            incarnation=incarnation,
            name=pod_set.resource.standby_pod(index, incarnation),
            failures=failures,
        ),
        placement=pod_set.workers,
        resources=pod_set.workers.resources,
        container={},
    )
