"""One reason why a run is refused, in the form of a Kubernetes field error."""

from dataclasses import dataclass

INVALID_TRAINING = "InvalidTraining"  # a setting of the training that does not go with the rest


@dataclass(frozen=True)
class Problem:
    field: str  # path in the resource's spec, e.g. spec.training.parallelism.expertParallelDegree
    value: str
    rule: str  # what must hold
    remedy: str  # what to do, with the nearest valid values where there are any
    reason: str = "InvalidSpec"  # CamelCase, becomes the condition's reason
    needed: int = 0  # bytes, of a rule about memory: two of the same field can be compared

    def __str__(self) -> str:
        return f"{self.field}: {self.value}: {self.rule}; {self.remedy}"
