"""What is watched, and which key an event becomes."""

from typing import Any

import pytest

from deepseek_operator.cluster.kinds import TRAINING_JOB, WATCHED
from deepseek_operator.handlers import POD_SELECTOR, build_registry, build_settings, pod_owner
from deepseek_operator.reconcile.key import Key
from deepseek_operator.resources.names import ResourceName, pod_labels

JOB = ResourceName("DeepSeekTrainingJob", "research", "tiny", "uid-1")


def _handlers(registry: Any) -> dict[str, Any]:
    return {handler.id: handler for handler in registry._watching.get_all_handlers()}


def test_the_four_kinds_and_pods_are_watched_and_nothing_else() -> None:
    handlers = _handlers(build_registry(lambda key, version: None))
    assert set(handlers) == {*(kind.plural for kind in WATCHED), "pods"}


def test_no_handler_makes_kopf_write_to_an_object() -> None:
    """Only handlers of changes, timers and daemons bring finalizers and annotations."""
    registry = build_registry(lambda key, version: None)
    assert list(registry._changing.get_all_handlers()) == []
    assert list(registry._spawning.get_all_handlers()) == []


def test_only_pods_of_our_making_are_asked_for() -> None:
    settings = build_settings()
    assert list(settings.watching.label_selectors.values()) == [POD_SELECTOR]
    name, value = POD_SELECTOR.split("=")
    assert pod_labels(JOB, role="worker", index=0, incarnation=1)[name] == value


def test_neither_kinds_nor_namespaces_are_scanned_so_that_no_right_to_them_is_needed() -> None:
    settings = build_settings()
    assert settings.scanning.disabled
    assert settings.peering.standalone
    assert not settings.posting.enabled


async def test_an_event_of_a_resource_is_its_key_and_version() -> None:
    seen: list[tuple[Key, str | None]] = []
    handlers = _handlers(build_registry(lambda key, version: seen.append((key, version))))
    metadata = {"namespace": "research", "name": "tiny", "resourceVersion": "7"}
    await handlers["deepseektrainingjobs"].fn(event={"type": "MODIFIED", "object": {"metadata": metadata}})
    assert seen == [(Key(TRAINING_JOB, "research", "tiny"), "7")]


async def test_an_event_of_a_pod_is_the_key_of_its_resource() -> None:
    seen: list[tuple[Key, str | None]] = []
    handlers = _handlers(build_registry(lambda key, version: seen.append((key, version))))
    labels = pod_labels(JOB, role="worker", index=3, incarnation=2)
    metadata = {"namespace": "research", "name": "dsjob-tiny-worker-3-2", "labels": labels}
    await handlers["pods"].fn(event={"type": "DELETED", "object": {"metadata": metadata}})
    assert seen == [(Key(TRAINING_JOB, "research", "tiny"), None)]


@pytest.mark.parametrize("labels", [None, {}, {"deepseek.dev/kind": "Other", "deepseek.dev/name": "x"}])
def test_a_pod_of_nobody_we_know_is_nobodys(labels: dict[str, str] | None) -> None:
    assert pod_owner({"namespace": "research", "name": "p", "labels": labels}) is None
