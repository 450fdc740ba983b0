"""The coordinator pod: it leads a run and needs no GPU."""

from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.pod import Member, build_pod
from deepseek_operator.resources.pod_set import PodSet
from deepseek_operator.resources.run_objects import COORDINATOR_PORTS
from deepseek_workloads.contract.environment import ROLE_COORDINATOR


def build_coordinator_pod(pod_set: PodSet, *, incarnation: int, failures: int = 0) -> Document:
    """Ready means: preflight has passed, workers are wanted."""
    return build_pod(
        pod_set,
        member=Member(
            role=ROLE_COORDINATOR,
            index=0,
            incarnation=incarnation,
            name=pod_set.resource.coordinator_pod(incarnation),
            failures=failures,
        ),
        placement=pod_set.coordinator,
        resources=pod_set.coordinator.resources,
        container={
            "ports": [{"name": name, "containerPort": port} for name, port in COORDINATOR_PORTS.items()],
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": "progress"},
                "periodSeconds": 1,
                "timeoutSeconds": 2,
            },
        },
    )
