"""The parts that the demo is made of, in a real cluster: the S3 server, thin images, a sample from a model.

`make demo` itself runs them one after the other; here each is shown to keep what it promises.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from harness.model_sample import sample
from harness.platform import NAMESPACE, ROOT, Platform
from harness.waiting import wait_until

from deepseek_demo import object_store
from deepseek_demo.images import Builder, load
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store import Credentials
from deepseek_demo.settings import from_environ

THIN_BYTES = 20_000_000


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@dataclass(frozen=True)
class Tenant:
    """A user with a bucket, and another's bucket that it may not use."""

    client: Any
    own: str
    foreign: str


@pytest.fixture(scope="module")
def tenant(platform: Platform) -> Tenant:
    user = Credentials.generate("tenant")
    for bucket in ("tenant-own", "tenant-foreign"):
        platform.store.create_bucket(bucket)
    platform.store.create_user(user)
    platform.store.allow(user.access_key, bucket="tenant-own")
    platform.store.client().put_object(Bucket="tenant-foreign", Key="secret", Body=b"x")
    return Tenant(platform.store.client(user), "tenant-own", "tenant-foreign")


@pytest.fixture
def kubectl(platform: Platform, tmp_path: Path) -> Kubectl:
    return Kubectl((str(platform.cluster.kubectl),), tmp_path / "kubectl.log")


def test_a_user_reads_writes_lists_and_deletes_in_its_bucket(tenant: Tenant) -> None:
    tenant.client.put_object(Bucket=tenant.own, Key="a/b", Body=b"content")
    assert tenant.client.get_object(Bucket=tenant.own, Key="a/b")["Body"].read() == b"content"
    assert tenant.client.list_objects_v2(Bucket=tenant.own, Prefix="a/")["KeyCount"] == 1
    tenant.client.delete_object(Bucket=tenant.own, Key="a/b")
    assert tenant.client.list_objects_v2(Bucket=tenant.own, Prefix="a/")["KeyCount"] == 0


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("get_object", {"Key": "secret"}),
        ("put_object", {"Key": "mine", "Body": b"x"}),
        ("delete_object", {"Key": "secret"}),
        ("list_objects_v2", {}),
        ("put_bucket_policy", {"Policy": "{}"}),
    ],
)
def test_a_user_may_do_nothing_in_anothers_bucket(
    tenant: Tenant, operation: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(tenant.client, operation)(Bucket=tenant.foreign, **arguments)
    assert code_of(error) == "AccessDenied"


def test_a_user_may_not_change_its_own_rights(tenant: Tenant) -> None:
    with pytest.raises(ClientError) as error:
        tenant.client.put_bucket_policy(Bucket=tenant.own, Policy='{"Version":"2012-10-17","Statement":[]}')
    assert code_of(error) == "AccessDenied"


def test_of_writers_that_race_for_a_record_one_wins(tenant: Tenant) -> None:
    def write(number: int) -> str:
        try:
            tenant.client.put_object(
                Bucket=tenant.own, Key="log/00000001.json", Body=str(number).encode(), IfNoneMatch="*"
            )
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(write, range(8)))
    stored = int(tenant.client.get_object(Bucket=tenant.own, Key="log/00000001.json")["Body"].read())
    assert outcomes.count("won") == 1
    assert outcomes[stored] == "won"
    assert set(outcomes) == {"won", "PreconditionFailed"}


def test_objects_outlive_the_pod_and_are_files_below_the_volume(
    platform: Platform, tenant: Tenant, kubectl: Kubectl
) -> None:
    tenant.client.put_object(Bucket=tenant.own, Key="kept", Body=b"content")
    before = {pod["metadata"]["uid"] for pod in kubectl.list("pods", namespace=object_store.NAME)}
    kubectl.run("delete", "pods", "--all", "--namespace", object_store.NAME, "--wait=false")

    def is_another_pod_ready() -> bool:
        pods = kubectl.list("pods", namespace=object_store.NAME)
        others = [pod for pod in pods if pod["metadata"]["uid"] not in before]
        return any(status["ready"] for pod in others for status in pod["status"].get("containerStatuses", []))

    wait_until(is_another_pod_ready, holds=bool, what="another S3 pod", deadline_seconds=90)
    assert tenant.client.get_object(Bucket=tenant.own, Key="kept")["Body"].read() == b"content"
    assert platform.store.data is not None
    assert (platform.store.data / tenant.own / "kept").read_bytes() == b"content"


@pytest.fixture
def changed_tree(tmp_path: Path) -> Iterator[Path]:
    """What the images are built from, with one line of the worker's code changed."""
    for name in ("Dockerfile", ".dockerignore", "docker", "uv.lock", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / "tree" / name)
        else:
            (tmp_path / "tree").mkdir(exist_ok=True)
            shutil.copy2(source, tmp_path / "tree" / name)
    for name in ("operator/deepseek_operator", "workloads/deepseek_workloads"):
        shutil.copytree(ROOT / name, tmp_path / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "tree/workloads/deepseek_workloads/__init__.py").open("a") as module:
        module.write("\nCHANGED = 'by a test'\n")
    yield tmp_path / "tree"
    shutil.rmtree(tmp_path / "tree")


class _Weighing:
    """A cluster that notes how heavy the archives are that it is given."""

    def __init__(self, platform: Platform) -> None:
        self._cluster = platform.cluster
        self.bytes = 0

    def has_image(self, ref: str) -> bool:
        return self._cluster.has_image(ref)

    def load_image_archive(self, path: Path) -> None:
        self.bytes += path.stat().st_size
        self._cluster.load_image_archive(path)


def test_changed_code_reaches_the_nodes_as_a_thin_layer(
    platform: Platform, changed_tree: Path, kubectl: Kubectl
) -> None:
    settings = from_environ({**os.environ, "CLUSTER": "local"}).images
    builder = Builder(type(settings)(**{**vars(settings), "root": changed_tree}))
    built = builder.build_one("worker")
    target = _Weighing(platform)
    load(target, built, builder)
    assert 0 < target.bytes < THIN_BYTES
    program = "import deepseek_workloads as w, sys; print(w.CHANGED, w.__cached__)"
    pod = worker_pod("thin-layer", built.ref, ["python", "-c", program])
    said = run_to_end(kubectl, pod)
    assert said.startswith("by a test /opt/deepseek/deepseek_workloads/__pycache__/")


def test_the_worker_image_never_compiles_at_run_time(platform: Platform, kubectl: Kubectl) -> None:
    """`python -v` names the file that each module's code was read from."""
    image = worker_image(platform)
    program = "import torch, ray, s3fs, deepseek_workloads.train; print('all imported')"
    script = f"""python -v -c "{program}" 2>&1 | grep -o "code object from '.*'\\|^all imported$" """
    said = run_to_end(kubectl, worker_pod("bytecode", image, ["bash", "-c", script])).splitlines()
    assert "all imported" in said
    assert [line for line in said if line.endswith(".py'")] == []


def test_the_exported_model_writes_text_that_begins_with_the_prompt(
    platform: Platform, undisturbed: str, kubectl: Kubectl
) -> None:
    job = platform.get("dsjob", undisturbed)
    first = sample(kubectl, job, image=worker_image(platform), prompt="Python is")
    assert first.startswith("Python is")
    assert len(first) > len("Python is")
    assert sample(kubectl, job, image=worker_image(platform), prompt="Python is") == first


def worker_image(platform: Platform) -> str:
    """Of the operator's installation."""
    system = platform.kubectl.in_namespace("deepseek-system")
    (deployment,) = system.items("deployments", selector="app.kubernetes.io/name=deepseek-operator")
    environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return next(str(item["value"]) for item in environment if item["name"] == "DEEPSEEK_WORKER_IMAGE")


def worker_pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    """Like a worker: Pod Security restricted, a read-only root."""
    container = {
        "name": "python",
        "image": image,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    context = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": context,
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def run_to_end(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """What the pod printed, whether it succeeded or not."""
    name = pod["metadata"]["name"]
    kubectl.run("delete", "pod", name, "--namespace", NAMESPACE, "--ignore-not-found")
    kubectl.apply([pod])

    def phase() -> str:
        found = kubectl.get("pod", name, namespace=NAMESPACE)
        return str(found["status"].get("phase")) if found else ""

    wait_until(phase, holds=lambda seen: seen in ("Succeeded", "Failed"), what=name, deadline_seconds=120)
    said = kubectl.text("logs", name, "--namespace", NAMESPACE)
    kubectl.run("delete", "pod", name, "--namespace", NAMESPACE, "--wait=false")
    return said
