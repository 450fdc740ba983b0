"""A worker pod: one node's share of a run."""

from typing import Final

from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.names import LABEL_ROLE
from deepseek_operator.resources.pod import Member, build_pod
from deepseek_operator.resources.pod_set import PodSet
from deepseek_workloads.contract.environment import ROLE_WORKER, SERVE_PORT

HTTP_PORT_NAME: Final = "http"


def build_worker_pod(pod_set: PodSet, *, index: int, incarnation: int, failures: int = 0) -> Document:
    """`index` is 0..numNodes-1 and stays over replacements."""
    return build_pod(
        pod_set,
        member=Member(
            role=ROLE_WORKER,
            index=index,
            incarnation=incarnation,
            name=pod_set.resource.worker_pod(index, incarnation),
            failures=failures,
        ),
        placement=pod_set.workers,
        resources=pod_set.workers.resources,
        container=_serving_container() if pod_set.serves else {},
        spec={"topologySpreadConstraints": [_spread_over_nodes(pod_set)]},
    )


def _serving_container() -> Document:
    """Ready means: the model is loaded and the proxy answers; then the pod gets requests."""
    return {
        "ports": [{"name": HTTP_PORT_NAME, "containerPort": SERVE_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": HTTP_PORT_NAME},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
    }


def _spread_over_nodes(pod_set: PodSet) -> Document:
    """A wish, not a condition: the loss of a node should cost one worker."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": pod_set.resource.selector | {LABEL_ROLE: ROLE_WORKER}},
    }
