"""What kopf watches: the four kinds, and pods the operator made. Each event becomes a key.

It knows nothing about what a key asks for. No handler here makes kopf write to an object: `on.event` needs
neither finalizers nor annotations.
"""

from collections.abc import Callable
from typing import Any, Final

import kopf

from deepseek_operator.cluster.kinds import POD, WATCHED, Kind
from deepseek_operator.reconcile.key import Key
from deepseek_operator.resources.names import LABEL_KIND, LABEL_MANAGED_BY, LABEL_RESOURCE, MANAGED_BY

OnEvent = Callable[[Key, str | None], None]
"""(key, resource version of the resource itself, or None when only one of its pods changed)."""

POD_SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
_BY_NAME: Final = {kind.kind: kind for kind in WATCHED}


def build_registry(on_event: OnEvent) -> kopf.OperatorRegistry:
    """The handlers, in a registry of their own."""
    registry = kopf.OperatorRegistry()
    for kind in WATCHED:
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(
            _on_resource(kind, on_event)
        )
    kopf.on.event("", POD.version, POD.plural, id=POD.plural, registry=registry)(_on_pod(on_event))
    kopf.on.login(registry=registry, id="service-account")(kopf.login_with_service_account)
    kopf.on.login(registry=registry, id="kubeconfig")(kopf.login_with_kubeconfig)
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Label-selected pods only, lists in pages, no look-out for other kinds, no events from log lines."""
    settings = kopf.OperatorSettings()
    settings.watching.label_selectors["", POD.version, POD.plural] = POD_SELECTOR
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    settings.scanning.disabled = True  # kinds and namespaces are known: no right to list either is needed
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 1.0
    return settings


def pod_owner(metadata: dict[str, Any]) -> Key | None:
    """The resource that a pod belongs to, by its labels; None for a pod with labels of unknown kinds."""
    labels = metadata.get("labels") or {}
    kind, name = _BY_NAME.get(labels.get(LABEL_KIND, "")), labels.get(LABEL_RESOURCE)
    return Key(kind, metadata["namespace"], name) if kind is not None and name else None


def _on_resource(kind: Kind, on_event: OnEvent) -> Callable[..., Any]:
    async def enqueue(event: Any, **_: Any) -> None:
        metadata = event["object"]["metadata"]
        on_event(Key(kind, metadata["namespace"], metadata["name"]), metadata.get("resourceVersion"))

    return enqueue


def _on_pod(on_event: OnEvent) -> Callable[..., Any]:
    async def enqueue(event: Any, **_: Any) -> None:
        owner = pod_owner(event["object"]["metadata"])
        if owner is not None:
            on_event(owner, None)

    return enqueue
