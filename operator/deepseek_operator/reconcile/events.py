"""Events: what happened to a resource, in words, once.

The name of an Event is made from its content and the resource's generation, so that a pass that is repeated,
by this process or the next one, finds it there instead of telling the same again.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from deepseek_operator.cluster.interface import AlreadyExists, Cluster, Document, Forbidden, Rejected
from deepseek_operator.cluster.kinds import EVENT
from deepseek_operator.status.events import ResourceEvent

_CONTROLLER: Final = "deepseek.dev/operator"
_MAX_NOTE: Final = 1024  # bytes, the API server's limit
_NAME_DIGITS: Final = 16


def build_event(
    event: ResourceEvent, *, resource: Document, now: datetime, reporting_instance: str
) -> Document:
    """An Event of events.k8s.io/v1 about the resource."""
    metadata = resource["metadata"]
    content = "|".join(
        (
            metadata["uid"],
            str(metadata.get("generation", 0)),
            event.type,
            event.reason,
            event.note,
            event.occasion,
        )
    )
    digest = hashlib.sha256(content.encode()).hexdigest()[:_NAME_DIGITS]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": _CONTROLLER,
        "reportingInstance": reporting_instance,
        "type": event.type,
        "reason": event.reason,
        "action": event.action,
        "note": _cut(event.note, _MAX_NOTE),
        "regarding": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
    }


async def tell(
    cluster: Cluster,
    events: Iterable[ResourceEvent],
    *,
    resource: Document,
    now: datetime,
    reporting_instance: str,
) -> None:
    """Creates those that are not there. What the server refuses is left out: words never stop the work."""
    for event in events:
        document = build_event(event, resource=resource, now=now, reporting_instance=reporting_instance)
        try:
            await cluster.create(EVENT, document)
        except (AlreadyExists, Forbidden, Rejected):
            continue


def _cut(text: str, limit: int) -> str:
    content = text.encode()
    return text if len(content) <= limit else content[: limit - 4].decode(errors="ignore") + " ..."
