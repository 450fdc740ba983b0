"""One node: a process tree in mount, network, process and host name namespaces of its own, so that one kill
is a power cut that leaves nothing of it running, mounted or routed. Its disk, the node's folder, stays.

It does not know of the API server, nor which images a node should have.
"""

import json
import shutil
from pathlib import Path

from local_kubernetes import cgroups, containerd, daemons, network
from local_kubernetes.archives import Archive
from local_kubernetes.commands import wait_until
from local_kubernetes.daemons import Daemon
from local_kubernetes.golden import GoldenStore
from local_kubernetes.node_files import (
    NodePlan,
    cni_config,
    containerd_config,
    init_script,
    kubelet_config,
    plan_node,
)
from local_kubernetes.settings import Network, Settings

_BOUND = ("kubelet", "cni-state", "pod-logs", "container-logs")
_NAMESPACE_SECONDS = 20
_CONTAINERD_SECONDS = 60


class Node:
    def __init__(self, settings: Settings, net: Network, name: str) -> None:
        self.name = name
        self._group = cgroups.group_of(settings.name, name)
        self._net = net
        self.plan: NodePlan = plan_node(settings, net, name, cgroup_root=f"/{self._group}")
        self._daemon = Daemon(
            name=name,
            group=self._group / "system",
            log=self.plan.folder / "logs" / "init.log",
            pid_file=self.plan.folder / "pid",
        )

    @property
    def enforces_network_policies(self) -> bool:
        return self.plan.network_policy_ready.exists()

    @property
    def is_running(self) -> bool:
        return self._daemon.pid is not None

    def require_running(self) -> None:
        self._daemon.require_running()

    def images(self) -> dict[str, str]:
        """Image name -> identity of the archive that it came from, as this node's disk has it."""
        try:
            return dict(json.loads(self._images_file.read_text()))
        except FileNotFoundError:
            return {}

    def provision(self, golden: GoldenStore) -> None:
        """Gives the stopped node a fresh image store with all that the golden one has; its containers are
        gone."""
        shutil.rmtree(self.plan.containerd_root, ignore_errors=True)
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        copied = golden.copy_to(self.plan.containerd_root)
        self._images_file.write_text(json.dumps(copied, indent=2))

    def start(self, *, kubernetes: Path) -> None:
        """Powers the node on; returns when its cable is in and its containerd answers. Raises
        LocalKubernetesError."""
        self._write_files(kubernetes)
        cgroups.create(self._group / "system")
        self.plan.containerd_socket.unlink(missing_ok=True)
        self.plan.network_policy_ready.unlink(missing_ok=True)
        namespaces = ["--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
        command = ["unshare", *namespaces, "bash", str(self.plan.folder / "init.sh")]
        daemons.start(self._daemon, command, cwd=self.plan.folder)
        network.connect_node(self._net, self.name, pid=self._process_1())
        wait_until(
            lambda: containerd.accepts_connections(self.plan.containerd_socket),
            what=f"containerd of {self.name}",
            seconds=_CONTAINERD_SECONDS,
            still_possible=self.require_running,
        )

    def kill(self) -> None:
        """The power cut; returns when nothing of the node runs."""
        self._daemon.kill()
        cgroups.kill(self._group)

    def import_archive(self, archive: Archive) -> None:
        """Imports into the running node's store unless it has it."""
        known = self.images()
        if all(known.get(name) == archive.identity for name in archive.references):
            return
        containerd.import_archive(self.plan.containerd_socket, archive)
        names = {**known, **dict.fromkeys(archive.references, archive.identity)}
        self._images_file.write_text(json.dumps(names, indent=2))

    def has_image(self, reference: str) -> bool:
        return reference in containerd.image_names(self.plan.containerd_socket)

    @property
    def _images_file(self) -> Path:
        return self.plan.folder / "images.json"

    def _write_files(self, kubernetes: Path) -> None:
        folder = self.plan.folder
        for name in (*_BOUND, "logs", "cni-conf"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "init.sh").write_text(init_script(self.plan, kubernetes=kubernetes))
        (folder / "containerd.toml").write_text(containerd_config(self.plan))
        (folder / "cni-conf" / "10-pods.conflist").write_text(cni_config(self.plan))
        (folder / "kubelet.json").write_text(kubelet_config(self.plan, host_memory_gib=_host_memory_gib()))

    def _process_1(self) -> int:
        """The pid, on the host, of the node's first process, once it is in its own network namespace."""
        ours = Path("/proc/self/ns/net").readlink()
        found: list[int] = []

        def is_there() -> bool:
            parent = self._daemon.pid
            if parent is None:
                return False
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            found[:] = [int(pid) for pid in children if Path(f"/proc/{pid}/ns/net").readlink() != ours]
            return bool(found)

        wait_until(
            is_there,
            what=f"namespaces of {self.name}",
            seconds=_NAMESPACE_SECONDS,
            still_possible=self.require_running,
        )
        return found[0]


def _host_memory_gib() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 1024**2
    raise AssertionError("/proc/meminfo has no MemTotal")
