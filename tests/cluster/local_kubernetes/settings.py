"""What a local cluster is to be, and the addresses and folders that follow from it. Pure: it touches
nothing."""

import json
import re
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from local_kubernetes.errors import LocalKubernetesError

ROOT = Path("/var/lib/deepseek-local-kubernetes")
GOLDEN_DIR = ROOT / "golden"
SLOTS = 16
GPU_POOL_LABEL = {"pool": "gpu"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
# Unix socket paths end at 107 characters; the longest of ours below the state folder is this one.
_LONGEST_SOCKET = "/node99/containerd.sock.ttrpc"

Mode = Literal["nodes", "control-plane"]


@dataclass(frozen=True)
class Settings:
    """`mode`: `nodes` boots real kubelets, `control-plane` only the API with KWOK's nodes.

    `nodes`: how many; node1 is an ordinary CPU node, all others form the GPU pool of `gpus_per_node` fake
    GPUs each. `node_memory_gib`: what one node offers to pods. `state_dir` defaults to a folder named after
    the cluster; it is removed with the cluster."""

    name: str = "deepseek"
    mode: Mode = "nodes"
    nodes: int = 2
    gpus_per_node: int = 4
    node_memory_gib: int = 10
    state_dir: Path = Path()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise LocalKubernetesError(
                f"name {self.name!r}: must be 1-20 lower-case letters, digits and dashes, a letter first"
            )
        if not 1 <= self.nodes <= 99:
            raise LocalKubernetesError(f"nodes {self.nodes}: must be 1 to 99")
        if self.mode not in ("nodes", "control-plane"):
            raise LocalKubernetesError(f"mode {self.mode!r}: must be nodes or control-plane")
        path = self.state_dir if self.state_dir != Path() else ROOT / self.name
        object.__setattr__(self, "state_dir", path.absolute())
        if len(f"{self.state_dir}{_LONGEST_SOCKET}") > 107:
            raise LocalKubernetesError(
                f"state_dir {self.state_dir}: too long for the Unix sockets in it; choose a folder of at "
                f"most {107 - len(_LONGEST_SOCKET)} characters"
            )

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"node{number}" for number in range(1, self.nodes + 1))

    def gpus(self, node: str) -> int:
        return 0 if node == "node1" else self.gpus_per_node

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "state_dir": str(self.state_dir)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        fields = json.loads(text)
        return cls(**{**fields, "state_dir": Path(fields["state_dir"])})


def differences(found: Settings, wanted: Settings) -> str:
    """In words: each field in which they differ, as it is and as it is asked for."""
    before, after = asdict(found), asdict(wanted)
    return ", ".join(
        f"{name} is {before[name]}, asked for {after[name]}" for name in before if before[name] != after[name]
    )


@dataclass(frozen=True)
class Network:
    """The addresses of one cluster: everything follows from its slot, so that clusters do not meet."""

    slot: int

    @property
    def bridge(self) -> str:
        return f"dsk{self.slot}"

    @property
    def loopback(self) -> IPv4Address:
        """Where etcd listens, out of the reach of pods; the API server too when there are no nodes."""
        return IPv4Address(f"127.77.{self.slot}.1")

    @property
    def node_cidr(self) -> IPv4Network:
        return IPv4Network(f"10.240.{self.slot}.0/24")

    @property
    def host_address(self) -> IPv4Address:
        return self.node_cidr[254]

    @property
    def pod_cidr(self) -> IPv4Network:
        return IPv4Network(f"10.{192 + self.slot}.0.0/16")

    @property
    def service_cidr(self) -> IPv4Network:
        return IPv4Network(f"10.{208 + self.slot}.0.0/16")

    @property
    def kubernetes_service(self) -> IPv4Address:
        return self.service_cidr[1]

    @property
    def dns_service(self) -> IPv4Address:
        return self.service_cidr[10]

    def node_address(self, node: str) -> IPv4Address:
        return self.node_cidr[_number(node)]

    def node_pod_cidr(self, node: str) -> IPv4Network:
        return IPv4Network(f"10.{192 + self.slot}.{_number(node)}.0/24")

    def veth(self, node: str) -> str:
        return f"{self.bridge}-n{_number(node)}"

    def api_address(self, mode: Mode) -> IPv4Address:
        return self.host_address if mode == "nodes" else self.loopback

    def api_url(self, mode: Mode) -> str:
        return f"https://{self.api_address(mode)}:6443"


def _number(node: str) -> int:
    return int(node.removeprefix("node"))


@dataclass(frozen=True)
class Paths:
    """The files below one cluster's state folder."""

    state: Path

    @property
    def settings(self) -> Path:
        return self.state / "settings.json"

    @property
    def booted(self) -> Path:
        """Exists once everything answered; a state folder without it is what a crash left."""
        return self.state / "booted"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def images(self) -> Path:
        """Image archives that nodes take again after their store was replaced."""
        return self.state / "images"

    def kubeconfig(self, user: str) -> Path:
        return self.state / "kubeconfig" / user

    def node(self, name: str) -> Path:
        return self.state / name

    def node_log(self, name: str, program: str) -> Path:
        return self.node(name) / "logs" / f"{program}.log"


def volumes_dir(settings: Settings) -> Path:
    """The folder for data that outlive the cluster: pods on any node see it under this same path."""
    return settings.state_dir.parent / "volumes" / settings.name
