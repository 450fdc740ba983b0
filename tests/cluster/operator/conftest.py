"""One control plane for all tests of this tier, and the operator on it under its chart's rights."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.kubectl import Kubectl, Object

from local_kubernetes import Cluster, Settings, down, up
from operator_harness.coordinator import Coordinator
from operator_harness.documents import dataset_document, job_document
from operator_harness.kubelet import HandNode, Pods
from operator_harness.processes import (
    OPERATOR_NAMESPACE,
    REPOSITORY,
    OperatorProcess,
    Operators,
    environment_of,
    installed,
    role,
    service_account_kubeconfig,
)
from operator_harness.serving import Service


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    settings = Settings(name="ci-operator", mode="control-plane", nodes=2)
    cluster = up(settings, report=print)
    yield cluster
    if not os.environ.get("KEEP_CLUSTER"):
        down(cluster.settings.state_dir)


@pytest.fixture(scope="session")
def admin(control_plane: Cluster) -> Kubectl:
    """With the CRDs and the rights of the chart installed, and nothing else of it."""
    kubectl = Kubectl(control_plane.kubectl, control_plane.kubeconfig)
    kubectl.run("apply", "--server-side", "-f", str(REPOSITORY / "manifests" / "crds"))
    here = kubectl.in_namespace(OPERATOR_NAMESPACE)
    here.apply(*installed("Namespace", "ServiceAccount"))
    here.apply(*installed("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"))
    kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return kubectl


@pytest.fixture(scope="session")
def operators(admin: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    folder = tmp_path_factory.mktemp("operators")
    group = Operators(admin, environment_of(admin, folder=folder), folder)
    yield group
    group.end()


@pytest.fixture
def operator(operators: Operators) -> OperatorProcess:
    """A process that leads."""
    if not any(each.alive for each in operators.processes):
        operators.start()
    return operators.wait_for_leader()


@pytest.fixture
def limited_operators(admin: Kubectl, operators: Operators, tmp_path: Path) -> Iterator[Operators]:
    """A group with a Lease and a service account of its own, which has no rights but to that Lease."""
    name = f"limited-{secrets.token_hex(4)}"
    leases = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["create", "get", "update"],
    }
    here = admin.in_namespace(OPERATOR_NAMESPACE)
    here.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    here.apply(*role(name, namespace=OPERATOR_NAMESPACE, rules=[leases]))
    kubeconfig = service_account_kubeconfig(admin, name, folder=tmp_path)
    group = Operators(admin, {**operators.environment, "KUBECONFIG": str(kubeconfig)}, tmp_path, lease=name)
    yield group
    group.end()


@pytest.fixture
def kubectl(admin: Kubectl) -> Iterator[Kubectl]:
    """In a namespace of the test's own that enforces Pod Security `restricted`."""
    name = f"test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield admin.in_namespace(name)
    admin.run("delete", "namespace", name, "--wait=false")
    admin.in_namespace(name).run("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false")


@pytest.fixture
def hand_node(control_plane: Cluster) -> Iterator[HandNode]:
    node = HandNode(control_plane.api, f"hand-{secrets.token_hex(4)}")
    node.join()
    yield node
    node.leave()


@pytest.fixture
def pods(kubectl: Kubectl) -> Pods:
    return Pods(kubectl)


@pytest.fixture
def new_coordinator() -> Iterator[Callable[[], Coordinator]]:
    """Each at an address of its own."""
    started: list[Coordinator] = []

    def start() -> Coordinator:
        address = f"127.9.{secrets.randbelow(250)}.{1 + secrets.randbelow(250)}"
        started.append(Coordinator(address))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def coordinator(new_coordinator: Callable[[], Coordinator]) -> Coordinator:
    return new_coordinator()


@pytest.fixture
def service(kubectl: Kubectl, pods: Pods) -> Service:
    return Service(kubectl, pods)


Documents = Callable[..., Object]


@pytest.fixture
def a_job() -> Documents:
    return job_document


@pytest.fixture
def a_dataset() -> Documents:
    return dataset_document
