"""A running cluster, as tests and the demo use it: up, attach, down, images and faults."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from local_kubernetes import boot, cgroups, control_plane, network, slots
from local_kubernetes.api import Api
from local_kubernetes.build import binary
from local_kubernetes.commands import wait_until
from local_kubernetes.errors import InTheWayError, LocalKubernetesError
from local_kubernetes.golden import GoldenStore
from local_kubernetes.images import ImageStore, Loader, bring_up_to_date, thin_archives
from local_kubernetes.node import Node
from local_kubernetes.settings import Network, Paths, Settings, differences, volumes_dir
from local_kubernetes.teardown import end_processes, read_settings, teardown

_NODE_READY_SECONDS = 120


@dataclass(frozen=True)
class Cluster:
    """What a caller holds of a booted cluster. Several processes may hold the same one."""

    settings: Settings
    network: Network

    @property
    def kubeconfig(self) -> Path:
        """The admin's."""
        return self._paths.kubeconfig("admin")

    @property
    def kubectl(self) -> Path:
        """A command that uses this cluster unless KUBECONFIG or a flag says otherwise."""
        return self._paths.bin / "kubectl"

    @property
    def helm(self) -> Path:
        """As kubectl; built at the first use."""
        return boot.write_wrapper(self._paths, "helm", str(binary("helm")))

    @property
    def audit_log(self) -> Path:
        """JSON lines: what ServiceAccounts outside kube-system asked for, and by which right it was
        allowed."""
        return self._paths.audit_log

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.settings.node_names

    @property
    def volumes_dir(self) -> Path:
        """A folder for PersistentVolumes (`local` or `hostPath`), under the same path on every node; what is
        in it outlives the cluster."""
        return volumes_dir(self.settings)

    @property
    def api_url(self) -> str:
        return self.network.api_url(self.settings.mode)

    def load_image_archive(self, path: Path) -> None:
        """Gives every running node the images of an OCI or docker archive; nothing happens when they have
        them.

        Heavy archives go through the golden store: a node without pods of its user's restarts with a copy of
        it, any other imports the archive itself, which takes long. Raises LocalKubernetesError."""
        with self._locked():
            loader = Loader(GoldenStore(), self._paths.images, replace_store=self._replace_store)
            loader.load(path, [node for node in self._nodes if node.is_running])

    def has_image(self, reference: str) -> bool:
        """Whether every running node has an image of that full name."""
        return all(node.has_image(reference) for node in self._nodes if node.is_running)

    def kill_node(self, name: str) -> None:
        """A power cut: the node's processes end at once, its disk stays."""
        with self._locked():
            self._node(name).kill()
            self._route_services()

    def start_node(self, name: str) -> None:
        """Powers a killed node on; returns when it is Ready."""
        with self._locked():
            self._start(self._node(name))

    def partition_node(self, name: str) -> None:
        """Pulls the node's network cable: its containers go on, and nobody reaches them."""
        self._node(name)
        network.set_cable(self.network, name, connected=False)
        self._route_services()

    def heal_node(self, name: str) -> None:
        """Plugs the cable in again; returns when the node is Ready."""
        self._node(name)
        network.set_cable(self.network, name, connected=True)
        self._route_services()
        self._wait_ready(name)

    def is_node_running(self, name: str) -> bool:
        return self._node(name).is_running

    def is_healthy(self) -> bool:
        """Whether the control plane runs and answers."""
        programs = (*control_plane.PROGRAMS, *(["kwok"] if self.settings.mode == "control-plane" else []))
        return all(control_plane.daemon(self.settings, p).pid for p in programs) and self.api.is_ready()

    @cached_property
    def api(self) -> Api:
        return Api(self.api_url, pki=self._paths.pki)

    @property
    def _paths(self) -> Paths:
        return Paths(self.settings.state_dir)

    @property
    def _nodes(self) -> list[Node]:
        if self.settings.mode != "nodes":
            raise LocalKubernetesError(
                f"cluster {self.settings.name} runs in mode {self.settings.mode}: it has no nodes to do that "
                "with; boot one with mode nodes"
            )
        return [Node(self.settings, self.network, name) for name in self.nodes]

    def _node(self, name: str) -> Node:
        if name not in self.nodes:
            raise LocalKubernetesError(f"no node {name!r}: there are {', '.join(self.nodes)}")
        return next(node for node in self._nodes if node.name == name)

    def _start(self, node: Node) -> None:
        if node.is_running:
            return
        lease = self._lease_renewal(node.name)
        node.start(kubernetes=binary("kubernetes"))
        bring_up_to_date(node, thin_archives(self._paths.images))
        self._route_services()
        self._wait_ready(node.name, renewed_after=lease)
        wait_until(
            lambda: node.enforces_network_policies,
            what=f"NetworkPolicies on {node.name}",
            seconds=_NODE_READY_SECONDS,
        )

    def _replace_store(self, node: Node) -> bool:
        if self._runs_users_pods(node.name):
            return False
        node.kill()
        node.provision(GoldenStore())
        self._start(node)
        return True

    def _runs_users_pods(self, node: str) -> bool:
        pods = self.api.items(f"/api/v1/pods?fieldSelector=spec.nodeName={node}")
        return any(
            pod["metadata"]["namespace"] != "kube-system"
            and pod["status"]["phase"] not in ("Succeeded", "Failed")
            for pod in pods
        )

    def _route_services(self) -> None:
        """The host reaches Services through a node that runs and is connected, if there is one."""
        for node in self._nodes:
            if node.is_running and network.is_cable_connected(self.network, node.name):
                network.route_services(self.network, through=node.name)
                return

    def _wait_ready(self, name: str, *, renewed_after: str | None = None) -> None:
        """A node that was away shortly still counts as Ready: its lease tells whether it is back."""
        before = self._lease_renewal(name) if renewed_after is None else renewed_after

        def is_back() -> bool:
            node = self.api.get(f"/api/v1/nodes/{name}")
            ready = boot.is_node_ready(node, gpus=self.settings.gpus(name))
            return ready and self._lease_renewal(name) > before

        wait_until(is_back, what=f"{name} ready", seconds=_NODE_READY_SECONDS)

    def _lease_renewal(self, node: str) -> str:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
        return str(self.api.get(path)["spec"]["renewTime"])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with slots.state_locked(self.settings.state_dir):
            yield


def up(settings: Settings, *, report: boot.Report = lambda _: None) -> Cluster:
    """The running cluster of these settings: the one that is there, or a new one in place of what a crash
    left.

    `report` gets a line for each step. Raises LocalKubernetesError, also when a cluster with other settings
    has the same state folder: it may hold somebody's work."""
    if os.geteuid() != 0:
        raise LocalKubernetesError(
            "the local Kubernetes needs root: it makes namespaces, bridges and control groups"
        )
    cgroups.require_version_1()
    with slots.state_locked(settings.state_dir):
        running = attach(settings.state_dir)
        if running is not None and running.settings != settings:
            raise InTheWayError(
                f"state folder {settings.state_dir}: holds a running cluster with other settings "
                f"({differences(running.settings, settings)}); remove it first (PYTHONPATH=tests/cluster "
                f".venv/bin/python -m local_kubernetes down --state {settings.state_dir})"
            )
        if running is None:
            if settings.state_dir.exists():
                report("removing what an earlier run left")
            teardown(settings.state_dir)
            _boot(settings, report)
            running = _existing(settings)
        elif settings.mode == "nodes":
            for name in running.nodes:
                running._start(running._node(name))
    return running


def image_store() -> ImageStore:
    """Of this machine: for images that are at hand before a cluster is."""
    return ImageStore(GoldenStore())


def attach(state_dir: Path) -> Cluster | None:
    """The cluster of that state folder when it booted and its control plane answers."""
    settings = read_settings(state_dir)
    if settings is None or slots.find(state_dir) is None or not Paths(state_dir).booted.exists():
        return None
    cluster = _existing(settings)
    return cluster if cluster.is_healthy() else None


def down(state_dir: Path) -> None:
    """Removes the cluster, whatever state it is in; data in its volumes folder stay. Raises
    LocalKubernetesError that names what could not be removed."""
    with slots.state_locked(state_dir):
        settings = read_settings(state_dir)
        teardown(state_dir)
    if settings is not None:
        _remove_empty(volumes_dir(settings))


def _remove_empty(volumes: Path) -> None:
    """The folder, and the one of all clusters around it; data in them stay."""
    for folder in (volumes, volumes.parent):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def _existing(settings: Settings) -> Cluster:
    slot = slots.find(settings.state_dir)
    assert slot is not None, "a booted cluster holds a slot"
    return Cluster(settings, Network(slot))


def _boot(settings: Settings, report: boot.Report) -> None:
    try:
        boot.boot(settings, report)
    except BaseException:
        # The files stay, for their logs; the next up or down removes them. What is not ours is not touched.
        if read_settings(settings.state_dir) is not None:
            end_processes(settings)
        else:
            slots.release(settings.state_dir)
        raise
    volumes_dir(settings).mkdir(parents=True, exist_ok=True)
