"""What the other end-to-end tests take for granted: the local Kubernetes behaves as a real cluster does."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from harness.kubectl import Kubectl, KubectlError
from harness.probe import RESTRICTED, TOLERATE_POOL, probe, probe_pod, reaches, wait_ready
from harness.waiting import wait_until

from local_kubernetes import (
    Cluster,
    LocalKubernetesError,
    Settings,
    StaticImage,
    attach,
    binary,
    down,
    write_static_archive,
)
from local_kubernetes.archives import read_archive
from local_kubernetes.golden import GoldenStore
from local_kubernetes.settings import Network
from local_kubernetes.slots import find
from local_kubernetes.teardown import leftovers, read_settings

Object = dict[str, Any]
NAMESPACE = "local-kubernetes"
TOLERATE_UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """In a namespace of this file's own."""
    client = Kubectl(cluster.kubectl, cluster.kubeconfig, NAMESPACE)
    client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    wait_until(
        lambda: client.get("serviceaccount", "default"),
        holds=bool,
        what="default ServiceAccount",
        deadline_seconds=30,
    )
    yield client
    client.delete("namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def probe_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = tmp_path_factory.mktemp("images") / "probe.tar"
    write_static_archive(probe(), archive)
    cluster.load_image_archive(archive)
    return probe().reference


@pytest.fixture(scope="module")
def servers(kubectl: Kubectl, probe_image: str) -> dict[str, str]:
    """A pod on each node behind the Service `server`: pod name -> address."""
    stay = {"tolerations": [TOLERATE_POOL, TOLERATE_UNREACHABLE]}
    kubectl.apply(
        probe_pod("server-node1", node="node1"),
        probe_pod("server-node2", node="node2", change=stay),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "server"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    return {name: wait_ready(kubectl, name) for name in ("server-node1", "server-node2")}


def ask(kubectl: Kubectl, pod: str, url: str) -> Object:
    """What a server answers to the pod. Raises KubectlError when nobody does."""
    return dict(json.loads(kubectl.run("exec", pod, "--", "/probe", "get", url)))


def ask_from_host(address: str) -> Object:
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        return dict(json.load(answer))


def node_is_ready(kubectl: Kubectl, node: str) -> str:
    found = kubectl.get("node", node)
    assert found is not None
    return next(str(c["status"]) for c in found["status"]["conditions"] if c["type"] == "Ready")


def test_pods_reach_each_other_across_nodes_and_keep_their_addresses(
    kubectl: Kubectl, servers: Mapping[str, str]
) -> None:
    for client, server in (("server-node1", "server-node2"), ("server-node2", "server-node1")):
        answer = ask(kubectl, client, f"http://{servers[server]}:8080/")
        assert answer["pod"] == server
        assert answer["client"] == servers[client]


def test_a_service_name_resolves_on_both_nodes_and_balances_over_both(
    kubectl: Kubectl, servers: Mapping[str, str]
) -> None:
    for client in servers:
        answered: set[str] = set()
        # 40 answers from one of two equal backends have odds of 2^-39.
        for _ in range(40):
            answered.add(ask(kubectl, client, f"http://server.{NAMESPACE}.svc.cluster.local/")["pod"])
            if len(answered) == 2:
                break
        assert answered == set(servers)
        assert reaches(kubectl, client, "kubernetes.default.svc:443")


def test_the_host_reaches_pods_and_services(kubectl: Kubectl, servers: Mapping[str, str]) -> None:
    service = kubectl.get("service", "server")
    assert service is not None
    for name, address in servers.items():
        assert ask_from_host(f"{address}:8080")["pod"] == name
    assert ask_from_host(service["spec"]["clusterIP"])["pod"] in servers


def test_pod_security_rejects_what_the_namespace_forbids(kubectl: Kubectl, probe_image: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.run("label", "namespace", NAMESPACE, *(f"{key}={value}" for key, value in labels.items()))
    try:
        with pytest.raises(KubectlError, match=r"violates PodSecurity.*allowPrivilegeEscalation"):
            kubectl.apply(probe_pod("plain"))
        pod = probe_pod("restricted")
        pod["spec"]["containers"][0]["securityContext"] = RESTRICTED
        kubectl.apply(pod)
        wait_ready(kubectl, "restricted")
    finally:
        kubectl.run("label", "namespace", NAMESPACE, *(f"{key}-" for key in labels))


DENY_ALL: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}
ALLOW_SERVERS: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "allow-servers"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"port": "http"}]}
        ],
        "egress": [
            {
                "to": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                    }
                ],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
            },
            {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"port": 8080}]},
        ],
    },
}


def test_network_policies_deny_and_allow(
    cluster: Cluster, kubectl: Kubectl, servers: Mapping[str, str]
) -> None:
    client, other = "server-node1", f"{servers['server-node2']}:8080"
    kubectl.apply(DENY_ALL)
    try:
        wait_until(
            lambda: reaches(kubectl, client, other),
            holds=lambda reached: not reached,
            what="denial between pods",
            deadline_seconds=20,
        )
        assert not reaches(kubectl, client, "kubernetes.default.svc:443")
        kubectl.apply(ALLOW_SERVERS)
        for name in servers:
            wait_until(
                lambda name=name: reaches(kubectl, name, f"server.{NAMESPACE}.svc:80"),
                holds=bool,
                what=f"allowed names and servers on {name}",
                deadline_seconds=20,
            )
        assert not reaches(kubectl, client, str(servers["server-node2"]) + ":8081")
        assert not reaches(kubectl, client, f"{cluster.network.host_address}:6443")
    finally:
        kubectl.delete("networkpolicy", "deny-all")
        kubectl.delete("networkpolicy", "allow-servers")
    wait_until(
        lambda: reaches(kubectl, client, "kubernetes.default.svc:443"),
        holds=bool,
        what="everything allowed again without policies",
        deadline_seconds=20,
    )


def test_gpus_are_allocated_from_the_pool_and_a_pod_that_does_not_fit_waits(
    kubectl: Kubectl, probe_image: str
) -> None:
    kubectl.apply(probe_pod("gpu-1", gpus=2), probe_pod("gpu-2", gpus=2))
    devices = [
        set(ask_from_host(f"{wait_ready(kubectl, name)}:8080")["devices"].split(","))
        for name in ("gpu-1", "gpu-2")
    ]
    assert [len(ids) for ids in devices] == [2, 2]
    assert devices[0].isdisjoint(devices[1])

    kubectl.apply(probe_pod("gpu-3", gpus=2))
    pending = wait_until(
        lambda: scheduling_message(kubectl, "gpu-3"),
        holds=bool,
        what="the scheduler's reason",
        deadline_seconds=20,
    )
    assert "Insufficient nvidia.com/gpu" in pending
    kubectl.delete("pod", "gpu-1")
    wait_ready(kubectl, "gpu-3")
    kubectl.delete("pod", "gpu-2", "--wait=false")
    kubectl.delete("pod", "gpu-3", "--wait=false")


def scheduling_message(kubectl: Kubectl, pod: str) -> str:
    found = kubectl.get("pod", pod) or {}
    conditions = found.get("status", {}).get("conditions", [])
    return next((str(c.get("message", "")) for c in conditions if c["type"] == "PodScheduled"), "")


def test_a_thin_archive_runs_new_code_on_the_layers_that_are_there(
    cluster: Cluster, kubectl: Kubectl, probe_image: str, tmp_path: Path
) -> None:
    code = StaticImage("localhost/probe:2", {"/version": (b"2", 0o644)}, entrypoint=("/probe",))
    write_static_archive(code, tmp_path / "thin.tar", base=probe())
    assert (tmp_path / "thin.tar").stat().st_size < len(probe().files["/probe"][0]) / 10
    cluster.load_image_archive(tmp_path / "thin.tar")
    assert cluster.has_image("localhost/probe:2")
    for node in cluster.nodes:
        kubectl.apply(probe_pod(f"thin-{node}", node=node, image="localhost/probe:2"))
    for node in cluster.nodes:
        assert ask_from_host(f"{wait_ready(kubectl, f'thin-{node}')}:8080")["version"] == "2"
        kubectl.delete("pod", f"thin-{node}", "--wait=false")


def test_a_thin_archive_without_its_base_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    absent = StaticImage("localhost/absent:1", {"/file": (b"never loaded", 0o644)}, entrypoint=("/file",))
    code = StaticImage("localhost/homeless:1", {"/version": (b"3", 0o644)}, entrypoint=("/probe",))
    write_static_archive(code, tmp_path / "thin.tar", base=absent)
    with pytest.raises(LocalKubernetesError, match="load the archive of its base image first"):
        cluster.load_image_archive(tmp_path / "thin.tar")
    assert not cluster.has_image("localhost/homeless:1")


def test_a_partitioned_node_is_given_up_while_its_containers_go_on(
    cluster: Cluster, kubectl: Kubectl, servers: Mapping[str, str]
) -> None:
    evicted = probe_pod("evicted-node2", node="node2")
    kubectl.apply(evicted)
    wait_ready(kubectl, "evicted-node2")
    cluster.partition_node("node2")
    try:
        wait_until(
            lambda: node_is_ready(kubectl, "node2"),
            holds=lambda status: status == "Unknown",
            what="node2 given up",
            deadline_seconds=40,
        )
        with pytest.raises(OSError):
            ask_from_host(f"{servers['server-node2']}:8080")
        wait_until(
            lambda: (kubectl.get("pod", "evicted-node2") or {}).get("metadata", {}),
            holds=lambda metadata: "deletionTimestamp" in metadata,
            what="eviction of a pod that does not tolerate it",
            deadline_seconds=40,
        )
    finally:
        cluster.heal_node("node2")
    assert node_is_ready(kubectl, "node2") == "True"
    wait_until(
        lambda: kubectl.get("pod", "evicted-node2"),
        holds=lambda pod: pod is None,
        what="end of the evicted pod once its kubelet is back",
        deadline_seconds=40,
    )
    assert ask_from_host(f"{servers['server-node2']}:8080")["pod"] == "server-node2"
    survivor = kubectl.get("pod", "server-node2")
    assert survivor is not None
    assert survivor["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_killed_node_is_given_up_and_comes_back_with_its_images(
    cluster: Cluster, kubectl: Kubectl, servers: Mapping[str, str]
) -> None:
    kubectl.apply(probe_pod("lost-node2", node="node2"))
    wait_ready(kubectl, "lost-node2")
    cluster.kill_node("node2")
    assert not cluster.is_node_running("node2")
    wait_until(
        lambda: (kubectl.get("pod", "lost-node2") or {}).get("metadata", {}),
        holds=lambda metadata: "deletionTimestamp" in metadata,
        what="eviction of the dead node's pod",
        deadline_seconds=60,
    )
    assert node_is_ready(kubectl, "node2") == "Unknown"
    cluster.start_node("node2")
    assert node_is_ready(kubectl, "node2") == "True"
    wait_until(
        lambda: kubectl.get("pod", "lost-node2"),
        holds=lambda pod: pod is None,
        what="end of the lost pod",
        deadline_seconds=60,
    )
    assert cluster.has_image("localhost/probe:1")
    kubectl.apply(probe_pod("found-node2", gpus=4))
    wait_ready(kubectl, "found-node2")
    kubectl.delete("pod", "found-node2")


def test_a_heavy_image_goes_through_the_golden_store_and_an_idle_node_takes_a_copy_of_it(
    cluster: Cluster, kubectl: Kubectl, probe_image: str, tmp_path: Path
) -> None:
    for pod in ("server-node2", "restricted"):
        kubectl.delete("pod", pod)
    program, weight = binary("probe").read_bytes(), bytes(70 * 1024**2)
    files = {"/probe": (program, 0o755), "/weight": (weight, 0o644)}
    write_static_archive(
        StaticImage("localhost/heavy:1", files, entrypoint=("/probe",)), tmp_path / "heavy.tar"
    )
    cluster.load_image_archive(tmp_path / "heavy.tar")
    assert cluster.has_image("localhost/heavy:1")
    assert cluster.has_image("localhost/probe:1"), "a fresh copy gets the light archives again"
    kubectl.apply(probe_pod("heavy-node2", node="node2", image="localhost/heavy:1"))
    wait_ready(kubectl, "heavy-node2")
    snapshots = (
        cluster.settings.state_dir / "node2/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    )
    assert any(path.is_symlink() for path in snapshots.iterdir())
    kubectl.delete("pod", "heavy-node2")


def test_the_golden_store_drops_what_a_newer_image_of_the_same_name_replaced(tmp_path: Path) -> None:
    golden = GoldenStore(tmp_path / "golden")
    blobs = tmp_path / "golden" / "containerd" / "io.containerd.content.v1.content" / "blobs" / "sha256"
    digests = []
    for content in (b"old", b"new"):
        image = StaticImage("localhost/changing:1", {"/file": (content, 0o644)}, entrypoint=("/file",))
        write_static_archive(image, tmp_path / "image.tar")
        golden.add(read_archive(tmp_path / "image.tar"))
        digests.append({path.name for path in blobs.iterdir()})
    assert digests[0] < digests[1], "nothing goes while nodes may run"
    golden.prune()
    left = {path.name for path in blobs.iterdir()}
    assert left.isdisjoint(digests[0])
    assert len(left) == 3, "manifest, configuration and layer of the new one"


def test_the_golden_store_keeps_the_last_two_builds_of_an_image(tmp_path: Path) -> None:
    golden = GoldenStore(tmp_path / "golden")
    for number in (1, 2, 3, 1):
        files = {"/file": (bytes([number]), 0o644)}
        image = StaticImage(f"localhost/built:{number}", files, entrypoint=("/file",))
        write_static_archive(image, tmp_path / "image.tar")
        golden.add(read_archive(tmp_path / "image.tar"))
    golden.prune()
    assert list(golden.identities()) == ["localhost/built:3", "localhost/built:1"]
    assert golden.copy_to(tmp_path / "node") == golden.identities()
    layers = tmp_path / "node" / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    assert len(list(layers.iterdir())) == 2


def test_the_audit_log_tells_what_a_service_account_was_denied(cluster: Cluster, kubectl: Kubectl) -> None:
    token = kubectl.run("create", "token", "default").strip()
    url = f"{cluster.api_url}/api/v1/namespaces/{NAMESPACE}/secrets"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    tls = ssl.create_default_context(cafile=str(cluster.settings.state_dir / "pki" / "ca.crt"))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, context=tls, timeout=10)

    def denials() -> list[Object]:
        events = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
        return [
            event
            for event in events
            if event["user"]["username"] == f"system:serviceaccount:{NAMESPACE}:default"
        ]

    event = wait_until(denials, holds=bool, what="an audit event", deadline_seconds=20)[-1]
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert (event["verb"], event["objectRef"]["resource"]) == ("list", "secrets")


def test_helm_and_kubectl_use_the_cluster_without_being_told(cluster: Cluster) -> None:
    listed = subprocess.run([cluster.helm, "list", "-A"], capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    nodes = subprocess.run([cluster.kubectl, "get", "nodes"], capture_output=True, text=True, check=True)
    assert "node2" in nodes.stdout


def test_a_second_up_finds_the_first(cluster: Cluster) -> None:
    found = attach(cluster.settings.state_dir)
    assert found is not None
    assert found.settings == cluster.settings


def local_kubernetes(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "cluster")}
    command = [sys.executable, "-m", "local_kubernetes", *arguments]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_down_removes_all_that_a_crash_of_the_tool_left() -> None:
    settings = Settings(name="e2e-crash", nodes=1)
    tool = local_kubernetes("up", "--name", settings.name, "--nodes", "1")
    try:
        # The node's daemons run and the cluster is not up yet: the worst moment.
        wait_until(
            lambda: (settings.state_dir / "node1" / "logs" / "kubelet.log").exists(),
            holds=bool,
            what="a half-booted cluster",
            deadline_seconds=120,
            poll_seconds=0.05,
            give_up=lambda _: f"the tool ended: {tool.communicate()}" if tool.poll() is not None else "",
        )
        tool.send_signal(signal.SIGKILL)
        tool.communicate()
        slot = find(settings.state_dir)
        assert slot is not None
        assert len(leftovers(read_settings(settings.state_dir) or settings)) > 3
        assert attach(settings.state_dir) is None
    finally:
        tool.kill()
        down(settings.state_dir)
    assert leftovers(settings) == []
    assert not settings.state_dir.exists()
    assert find(settings.state_dir) is None
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert f"{Network(slot).bridge}:" not in links
    # A client that the tool was just calling ends by itself, a moment after the tool.
    wait_until(
        lambda: processes_that_mention(settings.state_dir),
        holds=lambda commands: commands == [],
        what="no process that knows of the cluster",
        deadline_seconds=20,
    )


def processes_that_mention(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/" in command:
            found.append(command)
    return found


REFUSALS = {
    "a bridge of that name": ("ip link add dsk3 type bridge", "network link dsk3: exists.*ip link del dsk3"),
    "a route into the pods' addresses": (
        "ip link add vpn type bridge && ip addr add 10.195.7.1/24 dev vpn && ip link set vpn up",
        r"route 10\.195\.7\.0/24 by vpn: overlaps 10\.195\.0\.0/16.*ip route del",
    ),
}


@pytest.mark.parametrize("foreign", REFUSALS)
def test_what_is_in_the_way_is_named_with_the_remedy(foreign: str) -> None:
    """In a network namespace of its own, so that nothing of the machine is touched."""
    setup, message = REFUSALS[foreign]
    check = (
        "from local_kubernetes.network import require_free\n"
        "from local_kubernetes.settings import Network\n"
        "require_free(Network(3), 'nodes')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "cluster")}
    command = ["unshare", "--net", "sh", "-c", f'ip link set lo up && {setup} && exec "$@"', "sh"]
    done = subprocess.run(
        [*command, sys.executable, "-c", check], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode != 0
    assert "InTheWayError" in done.stderr
    assert re.search(message, done.stderr), done.stderr
