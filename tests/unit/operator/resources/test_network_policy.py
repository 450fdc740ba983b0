"""Default deny, and what a run needs."""

from typing import Any

import pytest

from deepseek_operator.resources.network_policy import build_network_policy
from deepseek_operator.resources.pod_set import pod_set_of, storage_ports
from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.resources.settings import BuildSettings, NetworkSettings
from deepseek_operator.validation.dataset import dataset_run_of
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.environment import HOROVOD_LAUNCHER_PORT, HOROVOD_RENDEZVOUS_PORT
from deepseek_workloads.contract.run_config import Distillation, InitialExport, Storage, TeacherLogitsLocation

TRACKERS = {
    "mlflow": {"trackingUri": "http://mlflow.tracking:5000", "experiment": "tiny"},
    "wandb": {"project": "tiny", "baseUrl": "https://wandb.example.com:8443", "secretRef": {"name": "wandb"}},
}


def _policy(job: Any, network: NetworkSettings, *, dataset_endpoint: str | None = None) -> dict[str, Any]:
    storage = Storage(uri="s3://corpus/docs", endpoint_url=dataset_endpoint)
    run = training_run_of(job, datasets={"docs": PreparedDataset(storage=storage, digest=None)})
    settings = BuildSettings(worker_image="w", network=network)
    return dict(build_network_policy(pod_set_of(job, run=run, settings=settings))["spec"])


def test_both_directions_are_denied_by_default(make_job: Any) -> None:
    assert _policy(make_job(), NetworkSettings())["policyTypes"] == ["Ingress", "Egress"]


def test_only_this_resources_pods_and_the_operator_may_enter(make_job: Any) -> None:
    siblings, operator = _policy(make_job(), NetworkSettings(operator_namespace="ops"))["ingress"]
    assert siblings == {"from": [{"podSelector": {"matchLabels": {"deepseek.dev/uid": "uid-of-tiny"}}}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8080}]
    namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}}
    assert operator["from"] == [namespace]


def test_horovods_ports_are_for_this_resources_pods_alone(make_job: Any) -> None:
    """The rendezvous has no authentication: no rule but the siblings' may let anybody in."""
    _, operator = _policy(make_job({"backend": "horovod"}), NetworkSettings())["ingress"]
    open_ports = {port["port"] for port in operator["ports"]}
    assert open_ports.isdisjoint({HOROVOD_RENDEZVOUS_PORT, HOROVOD_LAUNCHER_PORT})


@pytest.mark.parametrize(
    ("endpoint", "dataset_endpoint", "extra", "ports"),
    [
        ("http://s3.storage.svc:7070", "http://s3.storage.svc:7070", (), [7070]),
        ("https://s3.example.com", "http://minio.data", (), [80, 443]),
        ("http://s3.storage.svc:80", None, (7070,), [80, 443, 7070]),
    ],
)
def test_ports_of_every_storage_are_open(
    make_job: Any, endpoint: str, dataset_endpoint: str | None, extra: tuple[int, ...], ports: list[int]
) -> None:
    job = make_job({"storage": {"endpointUrl": endpoint}})
    spec = _policy(job, NetworkSettings(storage_ports=extra), dataset_endpoint=dataset_endpoint)
    assert [port["port"] for port in spec["egress"][-1]["ports"]] == ports


def test_ports_of_the_models_that_a_run_reads_are_open(make_job: Any) -> None:
    job, settings = make_job(), BuildSettings(worker_image="w")
    docs = PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest=None)
    run = training_run_of(job, datasets={"docs": docs})
    base, teacher = (
        InitialExport(uri=f"s3://models/{name}", endpoint_url=f"http://{name}.storage:{port}")
        for name, port in (("base", 9001), ("large", 9002))
    )
    taught = TeacherLogitsLocation(uri="s3://corpus/taught", endpoint_url="http://taught.storage:9003")
    distillation = Distillation(teacher=teacher, teacher_logits=taught)
    training = run.training.model_copy(update={"distillation": distillation})
    changed = run.model_copy(update={"init_from": base, "training": training})
    added = set(storage_ports(changed, settings)) - set(storage_ports(run, settings))
    assert added == {9001, 9002, 9003}


def test_ports_of_experiment_trackers_are_open(make_job: Any) -> None:
    plain, tracked = make_job(), make_job({"monitoring": TRACKERS})
    ports = [
        {port["port"] for port in _policy(job, NetworkSettings())["egress"][-1]["ports"]}
        for job in (plain, tracked)
    ]
    assert ports[1] - ports[0] == {5000, 8443}


def test_the_port_of_a_served_model_that_a_stage_asks_is_open(make_dataset: Any) -> None:
    service = {"baseUrl": "http://chat.research.svc:8000/v1", "model": "chat"}
    pipeline = [{"name": "translated", "backTranslate": service}]
    settings = BuildSettings(worker_image="w")
    plain, asking = (dataset_run_of(make_dataset(changes)) for changes in ({}, {"pipeline": pipeline}))
    assert set(storage_ports(asking, settings)) - set(storage_ports(plain, settings)) == {8000}


def test_storage_can_be_limited_to_peers(make_job: Any) -> None:
    peer = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    spec = _policy(make_job(), NetworkSettings(storage_peers=(peer,)))
    assert spec["egress"][-1]["to"] == [peer]
