"""Every pod passes Pod Security `restricted`, is named within Kubernetes' limits, and holds no secret."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.resources.coordinator import build_coordinator_pod
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.pod import shared_memory_bytes
from deepseek_operator.resources.pod_set import PodSet, pod_set_of
from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.resources.standby import build_standby_pod
from deepseek_operator.resources.worker import build_worker_pod
from deepseek_operator.validation.dataset import dataset_run_of
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.run_config import Storage

READY = {"docs": PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest=None)}
SETTINGS = BuildSettings(worker_image="default-worker", horovod_worker_image="default-horovod-worker")
Pod = dict[str, Any]
BuildPod = Callable[[PodSet], Pod]


def _coordinator(pod_set: PodSet) -> Pod:
    return build_coordinator_pod(pod_set, incarnation=1)


def _worker(pod_set: PodSet) -> Pod:
    return build_worker_pod(pod_set, index=0, incarnation=1)


def _standby(pod_set: PodSet) -> Pod:
    return build_standby_pod(pod_set, index=3, incarnation=1)


EACH_ROLE = pytest.mark.parametrize(
    "build", [_coordinator, _worker, _standby], ids=["coordinator", "worker", "standby"]
)


@pytest.fixture
def make_pod_set(make_job: Any) -> Callable[..., PodSet]:
    def make(changes: dict[str, Any] | None = None) -> PodSet:
        job = make_job(changes)
        return pod_set_of(job, run=training_run_of(job, datasets=READY), settings=SETTINGS)

    return make


def test_a_standby_pod_fits_where_a_worker_would(make_pod_set: Any) -> None:
    placement = {
        "nodeSelector": {"pool": "h200"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "low",
        "resources": {"cpu": "3", "memory": "5Gi", "gpu": 2},
        "numProcPerNode": 2,
    }
    pod_set = make_pod_set({"workers": placement, "data": {"cacheSize": "10Gi"}})
    worker, standby = _worker(pod_set)["spec"], _standby(pod_set)["spec"]
    for name in ("nodeSelector", "tolerations", "priorityClassName"):
        assert standby[name] == worker[name]
    assert standby["containers"][0]["resources"] == worker["containers"][0]["resources"]


@EACH_ROLE
def test_pods_pass_pod_security_restricted(make_pod_set: Any, build: BuildPod) -> None:
    """The controls of the profile: https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    spec = build(make_pod_set())["spec"]
    (container,) = spec["containers"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert {key for volume in spec["volumes"] for key in volume} <= {"name", "configMap", "emptyDir"}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] != 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPort" in port for port in container.get("ports", []))


@EACH_ROLE
def test_pods_have_a_read_only_root_and_no_token_of_kubernetes(make_pod_set: Any, build: BuildPod) -> None:
    spec = build(make_pod_set())["spec"]
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False


@EACH_ROLE
def test_secrets_are_referenced_never_written(make_pod_set: Any, build: BuildPod) -> None:
    environment = build(make_pod_set())["spec"]["containers"][0]["env"]
    secret = {entry["name"]: entry for entry in environment if "secretKeyRef" in entry.get("valueFrom", {})}
    assert set(secret) == {
        "DEEPSEEK_JOB_TOKEN",
        "RAY_AUTH_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
    assert not any("value" in entry for entry in secret.values())
    assert secret["AWS_SESSION_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is True


@pytest.mark.parametrize(
    ("uri", "required", "optional"),
    [
        ("gs://models/tiny", {"GOOGLE_SERVICE_ACCOUNT_KEY"}, set()),
        (
            "az://models/tiny",
            {"AZURE_STORAGE_ACCOUNT_NAME"},
            {
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_SAS_KEY",
                "AZURE_TENANT_ID",
                "AZURE_CLIENT_ID",
                "AZURE_CLIENT_SECRET",
            },
        ),
    ],
)
def test_each_kind_of_storage_of_a_run_brings_its_keys(
    make_pod_set: Any, uri: str, required: set[str], optional: set[str]
) -> None:
    """The dataset lies in s3://, where it may be public: a pod starts without its keys."""
    pod = _worker(make_pod_set({"storage": {"uri": uri, "endpointUrl": None}}))
    found = {
        entry["name"]: reference.get("optional", False)
        for entry in pod["spec"]["containers"][0]["env"]
        if (reference := entry.get("valueFrom", {}).get("secretKeyRef"))
        and entry["name"].startswith(("AWS", "GOOGLE", "AZURE"))
    }
    of_s3 = dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"], True)
    assert found == of_s3 | dict.fromkeys(required, False) | dict.fromkeys(optional, True)


def test_workers_alone_know_the_keys_of_trackers(make_pod_set: Any) -> None:
    mlflow = {"trackingUri": "https://mlflow", "experiment": "tiny", "secretRef": {"name": "mlflow"}}
    wandb = {"project": "tiny", "secretRef": {"name": "wandb"}}
    pod_set = make_pod_set({"monitoring": {"mlflow": mlflow, "wandb": wandb}})
    found, without = (
        {
            entry["name"]: (reference["name"], reference.get("optional", False))
            for entry in build(pod_set)["spec"]["containers"][0]["env"]
            if (reference := entry.get("valueFrom", {}).get("secretKeyRef"))
            and entry["name"].startswith(("MLFLOW", "WANDB"))
        }
        for build in (_worker, _coordinator)
    )
    assert found == {
        "MLFLOW_TRACKING_TOKEN": ("mlflow", True),  # a token, or a name and a password
        "MLFLOW_TRACKING_USERNAME": ("mlflow", True),
        "MLFLOW_TRACKING_PASSWORD": ("mlflow", True),
        "WANDB_API_KEY": ("wandb", False),
    }
    assert without == {}


def test_workers_alone_know_the_key_of_a_served_model(make_dataset: Any) -> None:
    service = {"baseUrl": "http://chat:8000/v1", "model": "chat", "secretRef": {"name": "translator-key"}}
    stages = [{"name": name, "backTranslate": service} for name in ("one", "two")]
    dataset = make_dataset({"pipeline": stages})
    pod_set = pod_set_of(dataset, run=dataset_run_of(dataset), settings=SETTINGS)
    worker, coordinator = (
        [each for each in build(pod_set)["spec"]["containers"][0]["env"] if each["name"] == "OPENAI_API_KEY"]
        for build in (_worker, _coordinator)
    )
    reference = {"name": "translator-key", "key": "OPENAI_API_KEY"}
    assert worker == [{"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": reference}}]
    assert coordinator == []


@EACH_ROLE
def test_without_a_secret_ref_no_credentials_are_set(make_pod_set: Any, build: BuildPod) -> None:
    pod = build(make_pod_set({"storage": {"secretRef": None}}))
    names = {entry["name"] for entry in pod["spec"]["containers"][0]["env"]}
    assert not {name for name in names if name.startswith("AWS_")}


@EACH_ROLE
def test_memory_is_limited_and_cpu_is_not(make_pod_set: Any, build: BuildPod) -> None:
    resources = build(make_pod_set())["spec"]["containers"][0]["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]
    assert "cpu" in resources["requests"]
    assert "cpu" not in resources["limits"]


def test_only_workers_take_gpus(make_pod_set: Any) -> None:
    pod_set = make_pod_set({"workers": {"resources": {"gpu": 4}}})
    worker, coordinator = _worker(pod_set), _coordinator(pod_set)
    assert worker["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert "nvidia.com/gpu" not in coordinator["spec"]["containers"][0]["resources"]["limits"]


def test_cpu_workers_ask_for_no_gpu_at_all(make_pod_set: Any) -> None:
    limits = _worker(make_pod_set())["spec"]["containers"][0]["resources"]["limits"]
    assert set(limits) == {"memory"}


def test_placement_of_workers_is_not_the_coordinators(make_pod_set: Any) -> None:
    pod_set = make_pod_set({"workers": {"nodeSelector": {"pool": "gpu"}}})
    assert _worker(pod_set)["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert "nodeSelector" not in _coordinator(pod_set)["spec"]


@EACH_ROLE
def test_a_tolerated_lost_node_keeps_the_users_patience(make_pod_set: Any, build: BuildPod) -> None:
    patience = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    given_by_user = {"tolerations": [patience]}
    pod = build(make_pod_set({"workers": given_by_user, "coordinator": given_by_user}))
    seconds = {each["key"]: each["tolerationSeconds"] for each in pod["spec"]["tolerations"]}
    assert seconds["node.kubernetes.io/unreachable"] == 300
    assert seconds["node.kubernetes.io/not-ready"] == SETTINGS.node_lost_seconds


@EACH_ROLE
def test_the_image_of_the_spec_comes_before_the_default(make_pod_set: Any, build: BuildPod) -> None:
    assert build(make_pod_set())["spec"]["containers"][0]["image"] == "default-worker"
    assert build(make_pod_set({"image": "mine"}))["spec"]["containers"][0]["image"] == "mine"


@EACH_ROLE
def test_horovod_has_a_default_image_of_its_own(make_pod_set: Any, build: BuildPod) -> None:
    (container,) = build(make_pod_set({"backend": "horovod"}))["spec"]["containers"]
    assert container["image"] == "default-horovod-worker"


def test_building_twice_gives_the_same_and_changes_no_input(make_pod_set: Any) -> None:
    pod_set = make_pod_set()
    first = _worker(pod_set)
    first["spec"]["containers"][0]["env"].clear()
    first["metadata"]["labels"].clear()
    assert _worker(pod_set) == _worker(make_pod_set())


@given(
    name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True),
    kind=st.sampled_from(["DeepSeekTrainingJob", "DeepSeekDataset"]),
    index=st.integers(0, 1023),
    incarnation=st.integers(1, 999),
)
def test_names_fit_into_a_dns_label(name: str, kind: str, index: int, incarnation: int) -> None:
    resource = ResourceName(kind, "ns", name, "0123456789abcdef")
    names = [
        resource.run_config_map,
        resource.token_secret,
        resource.coordinator_service,
        resource.network_policy,
        resource.coordinator_pod(incarnation),
        resource.worker_pod(index, incarnation),
    ]
    assert [each for each in names if len(each) > 63] == []


@pytest.mark.parametrize(("memory", "mebibytes"), [("256Mi", 128), ("3Gi", 921), ("1Ti", 314572)])
def test_shared_memory_is_a_share_of_the_limit(memory: str, mebibytes: int) -> None:
    assert shared_memory_bytes(memory) == mebibytes * 2**20


def test_workers_keep_replicas_of_checkpoints_in_memory_that_outlives_their_processes(
    make_pod_set: Any,
) -> None:
    pod_set = make_pod_set({"checkpoint": {"memoryReplicas": 2}})
    spec = _worker(pod_set)["spec"]
    (container,) = spec["containers"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "memory-replicas"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "memory-replicas"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": str(pod_set.replica_bytes)}
    assert pod_set.replica_bytes > 0
    told = {"name": "DEEPSEEK_MEMORY_REPLICAS_DIR", "value": mount["mountPath"]}
    assert told in container["env"]
    assert "readOnly" not in mount
    test_pods_pass_pod_security_restricted(lambda: pod_set, _worker)


def test_what_a_worker_keeps_of_its_data_is_asked_of_the_node_and_bounded(make_pod_set: Any) -> None:
    """A tenth more than the cache, for blocks that are being written."""
    pod_set = make_pod_set({"data": {"cacheSize": "200Gi"}})
    spec = _worker(pod_set)["spec"]
    (container,) = spec["containers"]
    room = str(220 * 2**30)
    (volume,) = [each for each in spec["volumes"] if each["name"] == "block-cache"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "block-cache"]
    assert (volume["emptyDir"], mount["mountPath"]) == ({"sizeLimit": room}, "/tmp/blocks")
    assert container["resources"]["requests"]["ephemeral-storage"] == room
    test_pods_pass_pod_security_restricted(lambda: pod_set, _worker)


@pytest.mark.parametrize("build", [_worker, _coordinator])
def test_no_disk_is_asked_for_where_nothing_is_kept(make_pod_set: Any, build: Any) -> None:
    pod_set = make_pod_set({"data": {"cacheSize": "200Gi"}} if build is _coordinator else {})
    (container,) = build(pod_set)["spec"]["containers"]
    assert "ephemeral-storage" not in container["resources"]["requests"]
    assert not [each for each in build(pod_set)["spec"]["volumes"] if each["name"] == "block-cache"]


@pytest.mark.parametrize(
    ("replicas", "build"), [(0, _worker), (2, _coordinator)], ids=["none", "coordinator"]
)
def test_other_pods_have_no_memory_for_replicas(make_pod_set: Any, replicas: int, build: BuildPod) -> None:
    pod = build(make_pod_set({"checkpoint": {"memoryReplicas": replicas}}))
    assert "memory-replicas" not in str(pod)
    assert "MEMORY_REPLICAS" not in str(pod)
