"""The name of one resource to reconcile; all that handlers hand over."""

from typing import NamedTuple

from deepseek_operator.cluster.kinds import Kind


class Key(NamedTuple):
    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"
