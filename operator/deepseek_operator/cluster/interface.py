"""What reconcile needs from the outside: a Kubernetes API, coordinators, a clock. Protocols and errors only.

Tests put in-memory implementations behind the same protocols.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from deepseek_operator.cluster.kinds import Kind
from deepseek_workloads.contract.messages import Control, Progress

Document = dict[str, Any]
"""A Kubernetes object as JSON."""


class ClusterError(Exception):
    """The API server refused or could not be reached; the base of all below."""


class AlreadyExists(ClusterError):
    """409 on a create: an object of this name is there."""


class Conflict(ClusterError):
    """409 on an update: the object changed since it was read, or a precondition failed."""


class Forbidden(ClusterError):
    """403: the operator's role, a quota or an admission rule forbids it."""


class Rejected(ClusterError):
    """400 or 422: the document is invalid. Trying again with the same document cannot help."""


class Unavailable(ClusterError):
    """429, 5xx or no connection: trying again later may help."""


class Cluster(Protocol):
    """Every call is one request. All raise `ClusterError` subclasses."""

    async def get(self, kind: Kind, *, name: str, namespace: str = "") -> Document | None:
        """The object, or None when there is none."""
        ...

    async def list_(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> list[Document]:
        """All objects of one namespace (or of all, when it is empty) with these labels."""
        ...

    async def list_metadata(self, kind: Kind, *, namespace: str = "") -> list[Document]:
        """As `list_`, but `metadata` only: cheap, for comparing resource versions."""
        ...

    async def create(self, kind: Kind, document: Document) -> Document:
        """Raises AlreadyExists."""
        ...

    async def apply(self, kind: Kind, document: Document) -> Document:
        """Server-side apply under the operator's field manager; conflicts are taken over."""
        ...

    async def delete(
        self, kind: Kind, *, name: str, namespace: str, uid: str, grace_seconds: int | None = None
    ) -> bool:
        """Deletes this very object (the uid is a precondition). False: it was gone already."""
        ...

    async def replace_status(self, kind: Kind, document: Document) -> Document:
        """Writes `.status` of the document as it was read. Raises Conflict when it changed since."""
        ...


class PushAnswer(Enum):
    TAKEN = "taken"
    REFUSED = "refused"  # the coordinator does not know the token: trying again cannot help
    UNREACHABLE = "unreachable"  # or it answered something that says nothing


class Coordinators(Protocol):
    """The HTTP channel to the coordinator of a run. Failures to reach it are answers, not errors."""

    async def progress(self, pod_ip: str) -> Progress | None:
        """None: not reachable now, or the answer was no progress."""
        ...

    async def push(self, pod_ip: str, *, control: Control, token: str) -> PushAnswer:
        """What became of it."""
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC, with a time zone."""
        ...
