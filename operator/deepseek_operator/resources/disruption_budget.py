"""How many replicas of a serving cluster a drain may take at once: one."""

from deepseek_operator.resources.metadata import Document, dependent_metadata
from deepseek_operator.resources.names import LABEL_ROLE
from deepseek_operator.resources.pod_set import PodSet
from deepseek_workloads.contract.environment import ROLE_WORKER


def build_disruption_budget(pod_set: PodSet, *, replicas: int) -> Document:
    """All but one stay. A single replica may be taken: a drain that waits for it would wait for ever.

    `maxUnavailable` is only for pods of controllers that Kubernetes can ask for their number of replicas
    (Kubernetes' documentation, "Specifying a Disruption Budget"). The coordinator has no budget: there is
    only one, and replicas answer on without it. A replica that is not ready holds up no drain.
    """
    resource = pod_set.resource
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": dependent_metadata(resource, name=resource.prefix),
        "spec": {
            "minAvailable": max(0, replicas - 1),
            "selector": {"matchLabels": resource.selector | {LABEL_ROLE: ROLE_WORKER}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
