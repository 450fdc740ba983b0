"""Which changes make another cluster of a service, and which do not; names that Kubernetes accepts."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.serving import PodTemplate, cluster_id, serving_target
from deepseek_operator.resources.settings import BuildSettings

SETTINGS = BuildSettings(worker_image="worker:1")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SPEC: dict[str, Any] = {"model": {"modelName": "tiny"}}


def _service(**spec: Any) -> DeepSeekModelService:
    metadata = {"name": "chat", "namespace": "research", "uid": "uid-of-chat"}
    return DeepSeekModelService.model_validate({"metadata": metadata, "spec": SPEC | spec})


def _revision(**spec: Any) -> DeepSeekModelRevision:
    base = {"storageUri": "s3://models/x", "digest": "sha256:" + "a" * 64}
    metadata = {"name": "r1", "namespace": "research", "uid": "uid-of-r1"}
    return DeepSeekModelRevision.model_validate({"metadata": metadata, "spec": base | spec})


def _hash(service: DeepSeekModelService, *, settings: BuildSettings = SETTINGS, **revision: Any) -> str:
    return serving_target(service, _revision(**revision), settings=settings).template_hash


@pytest.mark.parametrize(
    "change",
    [
        {"image": "worker:2"},
        {"imagePullSecrets": [{"name": "registry"}]},
        {"secretRef": {"name": "reader"}},
        {"apiKeysSecretRef": {"name": "keys"}},
        {"servedModelName": "deepseek/tiny"},
        {"engine": {"batchWaitMs": 0}},
        {"pods": {"resources": {"memory": "8Gi"}}},
        {"pods": {"nodeSelector": {"pool": "gpu"}}},
        {"coordinator": {"resources": {"memory": "4Gi"}}},
        {"drainSeconds": 60},
        {"proxy": "HAProxy"},
    ],
)
def test_another_way_to_serve_is_another_template(change: dict[str, Any]) -> None:
    assert _hash(_service(**change)) != _hash(_service())


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": {"min": 3, "max": 3}},
        {"suspend": True},
        {"rollout": {"progressDeadlineSeconds": 10, "check": {"prompts": ["a"]}, "revisionHistoryLimit": 1}},
        {"model": {"revisionRef": {"name": "r1"}}},
    ],
)
def test_what_is_changed_in_place_keeps_the_template(change: dict[str, Any]) -> None:
    assert _hash(_service(**change)) == _hash(_service())


def test_another_export_is_another_template() -> None:
    assert _hash(_service(), digest="sha256:" + "b" * 64) != _hash(_service())


def test_a_new_default_image_of_the_installation_rolls_nothing_out() -> None:
    newer = BuildSettings(worker_image="worker:2")
    assert _hash(_service(), settings=newer) == _hash(_service())
    assert serving_target(_service(), _revision(), settings=newer).template.image == "worker:2"


def test_a_new_check_or_another_active_cluster_is_another_attempt() -> None:
    target = serving_target(_service(), _revision(), settings=SETTINGS)
    stricter = _service(rollout={"check": {"maxBitsPerByteIncrease": "0"}})
    ids = {
        cluster_id(_service(), target, active=""),
        cluster_id(_service(), target, active="0a1b2c3d"),
        cluster_id(stricter, target, active=""),
    }
    assert len(ids) == 3


def test_the_length_of_the_history_is_no_reason_for_another_attempt() -> None:
    target = serving_target(_service(), _revision(), settings=SETTINGS)
    other = _service(rollout={"revisionHistoryLimit": 1})
    assert cluster_id(other, target, active="") == cluster_id(_service(), target, active="")


def test_the_template_is_read_back_as_it_was_written() -> None:
    service = _service(pods={"resources": {"gpu": 1}, "tolerations": [{"operator": "Exists"}]})
    template = serving_target(service, _revision(), settings=SETTINGS).template
    assert PodTemplate.model_validate_json(template.to_json()) == template


def test_a_pod_is_killed_later_than_it_drains() -> None:
    policy = serving_target(_service(drainSeconds=60), _revision(), settings=SETTINGS).template.run_policy
    assert policy.termination_grace_period_seconds >= policy.drain_seconds + 5


@given(
    name=st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True),
    index=st.integers(0, 999),
    incarnation=st.integers(1, 9999),
)
def test_every_name_of_a_cluster_is_a_dns_label(name: str, index: int, incarnation: int) -> None:
    resource = ResourceName("DeepSeekModelService", "research", name, "u" * 36, "0a1b2c3d", "c" * 36)
    names = [
        resource.run_config_map,
        resource.token_secret,
        resource.coordinator_service,
        f"{resource.network_policy}-http",
        resource.coordinator_pod(incarnation),
        resource.worker_pod(index, incarnation),
    ]
    assert [each for each in names if not DNS_LABEL.fullmatch(each)] == []
