"""What a user may say about pods: sizes, node pools, the policy of a run. Narrow on purpose: not a PodSpec.

It does not know how pods are built (`resources`).
"""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    DnsSubdomain,
    LabelKey,
    LabelValue,
    Quantity,
    SpecModel,
    immutable,
    rule,
    unchanged,
    with_rules,
)


class CpuResources(SpecModel):
    """What each pod requests; memory is its limit too."""

    cpu: Quantity = Field(default="1", description="CPU cores that a pod requests, for instance 500m or 4.")
    memory: Quantity = Field(
        default="2Gi", description="Memory that a pod requests and may use at most, for instance 16Gi."
    )


class Resources(CpuResources):
    gpu: int = Field(
        default=0,
        ge=0,
        le=64,
        description="GPUs of a pod, taken from a node pool by the device plugin; 0 trains on CPU.",
    )


class Toleration(SpecModel):
    """A taint that the pods may be placed in spite of."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; absent matches every key.")
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Exists: any value of the key. Equal: the given value."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint, with operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; absent matches every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=604800, description="Seconds until a NoExecute taint evicts the pod after all."
    )


class NodeSelectorRequirement(SpecModel):
    """One condition on a node's label."""

    key: LabelKey = Field(description="The node's label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How the label's value relates to values."
    )
    values: list[LabelValue] = Field(
        default_factory=list,
        max_length=32,
        description="Values for In and NotIn; one integer for Gt and Lt.",
        json_schema_extra=ATOMIC_LIST,
    )


class NodeSelectorTerm(SpecModel):
    """Conditions that a node meets all of."""

    match_expressions: list[NodeSelectorRequirement] = Field(
        min_length=1,
        max_length=16,
        description="Conditions on labels, all of which hold.",
        json_schema_extra=ATOMIC_LIST,
    )


class NodeSelector(SpecModel):
    """Terms, of which a node meets at least one."""

    node_selector_terms: list[NodeSelectorTerm] = Field(
        min_length=1, max_length=8, description="Terms, any of which suffices.", json_schema_extra=ATOMIC_LIST
    )


class PreferredNodes(SpecModel):
    """A preference among the nodes that are possible."""

    weight: int = Field(ge=1, le=100, description="How much the preference counts against others.")
    preference: NodeSelectorTerm = Field(description="The nodes that are preferred.")


class NodeAffinity(SpecModel):
    """Rules on nodes, as in a pod's spec.affinity.nodeAffinity."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        default=None, description="Nodes that are possible at all."
    )
    preferred_during_scheduling_ignored_during_execution: list[PreferredNodes] = Field(
        default_factory=list,
        max_length=8,
        description="Nodes that are better than others.",
        json_schema_extra=ATOMIC_LIST,
    )


class Affinity(SpecModel):
    """Node affinity; workers of one resource are spread over nodes by themselves."""

    node_affinity: NodeAffinity | None = Field(default=None, description="Rules on nodes.")


class Placement(SpecModel):
    """Where pods may run."""

    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] = Field(
        default_factory=dict,
        description="Labels that a node must have, for instance the name of a node pool.",
    )
    tolerations: list[Toleration] = Field(
        default_factory=list,
        max_length=16,
        description="Taints that the pods tolerate.",
        json_schema_extra=ATOMIC_LIST,
    )
    affinity: Affinity | None = Field(default=None, description="Finer rules on nodes than nodeSelector.")
    priority_class_name: DnsSubdomain | None = Field(
        default=None, description="PriorityClass of the pods; a preempted job goes on from its checkpoint."
    )
    scheduler_name: DnsSubdomain | None = Field(
        default=None, description="Scheduler of the pods; absent is the cluster's default."
    )


PLACEMENT_FIELDS = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "schedulerName")


def placement_changes_only_while_suspended(parent: str) -> list[dict[str, str]]:
    """CEL rules for a spec with `suspend`, whose required field `parent` holds a Placement."""
    return [
        rule(
            f"self.suspend || oldSelf.suspend || ({unchanged(f'{parent}.{name}')})",
            f"{parent}.{name} can be changed only while suspend is true",
            field_path=f".{parent}.{name}",
        )
        for name in PLACEMENT_FIELDS
    ]


class Workers(Placement):
    """The pods that work: one a node."""

    model_config = with_rules(
        rule(
            "!has(self.minNodes) || self.minNodes <= self.numNodes",
            "minNodes is at most numNodes",
            field_path=".minNodes",
        ),
        rule(
            "self.resources.gpu == 0 || self.numProcPerNode <= self.resources.gpu",
            "numProcPerNode is at most resources.gpu: a process owns its GPU",
            field_path=".numProcPerNode",
        ),
        immutable("numProcPerNode"),
        immutable("resources"),
    )

    num_nodes: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Worker pods, each on a node of the pool. Of a training job it may be changed: the run "
        "writes a checkpoint and goes on from it with the new number.",
    )
    num_proc_per_node: int = Field(
        default=1, ge=1, le=64, description="Processes of a worker pod; with GPUs, one a GPU."
    )
    min_nodes: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Of a training job: nodes that it may go on with where there are none for the others; "
        "absent waits for all of numNodes.",
    )
    resources: Resources = Field(default=Resources(), description="What each worker pod needs.")


class Coordinator(Placement):
    """The pod that leads: preflight, the head, progress. It needs no GPU."""

    model_config = with_rules(immutable("resources"))

    resources: CpuResources = Field(
        default=CpuResources(cpu="500m", memory="2Gi"), description="What the coordinator pod needs."
    )


class RunPolicy(SpecModel):
    """Limits of a run in failures and time."""

    model_config = with_rules(
        rule(
            "self.drainSeconds < self.terminationGracePeriodSeconds",
            "drainSeconds is below terminationGracePeriodSeconds: the pod must end before it is killed",
            field_path=".drainSeconds",
        ),
        immutable("backoffLimit"),
        immutable("drainSeconds"),
        immutable("terminationGracePeriodSeconds"),
    )

    backoff_limit: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Failures of the run itself that are retried; lost nodes and preemption never count.",
    )
    startup_deadline_seconds: int = Field(
        default=600,
        ge=1,
        le=604800,
        description="Seconds from a pod's placement on a node until it runs; after them the run fails and "
        "frees its nodes. Waiting for a node does not count.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=315360000,
        description="Seconds that the run may take, suspensions not counted; absent is no limit.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=315360000,
        description="Seconds from the end until the last pod, and its logs, are deleted; absent keeps it.",
    )
    termination_grace_period_seconds: int = Field(
        default=40, ge=5, le=3600, description="Seconds that a pod has between SIGTERM and its end."
    )
    drain_seconds: int = Field(
        default=25,
        ge=0,
        le=3590,
        description="Seconds of the grace period in which training goes on to write a checkpoint.",
    )
