"""What one node is told: its init script and the configuration of containerd, CNI and kubelet. Pure: text
out."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from local_kubernetes.settings import GPU_POOL_LABEL, GPU_TAINT, Network, Paths, Settings

PAUSE_IMAGE = "localhost/pause:1"


@dataclass(frozen=True)
class Neighbour:
    """Another node: where its pods are, and through which address."""

    address: IPv4Address
    pod_cidr: IPv4Network


@dataclass(frozen=True)
class NodePlan:
    """Everything that tells one node from another."""

    name: str
    folder: Path
    address: IPv4Address
    gateway: IPv4Address
    pod_cidr: IPv4Network
    cluster_pod_cidr: IPv4Network
    service_cidr: IPv4Network
    dns: IPv4Address
    cgroup_root: str
    gpus: int
    memory_gib: int
    neighbours: tuple[Neighbour, ...]
    pki: Path
    kubelet_kubeconfig: Path
    kube_proxy_kubeconfig: Path
    network_policy_kubeconfig: Path

    @property
    def containerd_socket(self) -> Path:
        """In the node's folder, where the host reaches it too."""
        return self.folder / "containerd.sock"

    @property
    def network_policy_ready(self) -> Path:
        """Exists while NetworkPolicies are enforced."""
        return self.folder / "network-policy.ready"

    @property
    def containerd_root(self) -> Path:
        return self.folder / "containerd"


def plan_node(settings: Settings, network: Network, name: str, *, cgroup_root: str) -> NodePlan:
    paths = Paths(settings.state_dir)
    others = [other for other in settings.node_names if other != name]
    return NodePlan(
        name=name,
        folder=paths.node(name),
        address=network.node_address(name),
        gateway=network.host_address,
        pod_cidr=network.node_pod_cidr(name),
        cluster_pod_cidr=network.pod_cidr,
        service_cidr=network.service_cidr,
        dns=network.dns_service,
        cgroup_root=cgroup_root,
        gpus=settings.gpus(name),
        memory_gib=settings.node_memory_gib,
        neighbours=tuple(Neighbour(network.node_address(o), network.node_pod_cidr(o)) for o in others),
        pki=paths.pki,
        kubelet_kubeconfig=paths.kubeconfig(f"system-node-{name}"),
        kube_proxy_kubeconfig=paths.kubeconfig("system-kube-proxy"),
        network_policy_kubeconfig=paths.kubeconfig("local-kubernetes-network-policy"),
    )


def init_script(plan: NodePlan, *, kubernetes: Path) -> str:
    """Process 1 of the node: mounts and addresses of its own, then the node's daemons, each restarted when it
    ends."""
    socket = shlex.quote(str(plan.containerd_socket))
    services = "\n".join(
        f"supervise {name} {shlex.join(map(str, command))} &"
        for name, command in node_services(plan, kubernetes=kubernetes)
    )
    return f"""\
set -eu
{_mounts(plan)}
{_addresses(plan)}
{_supervise(plan)}
supervise containerd containerd --config {shlex.quote(str(plan.folder / "containerd.toml"))} &
until [ -S {socket} ]; do sleep 0.02; done
{services}
# Waiting also buries the processes that containerd's shims leave behind.
while :; do wait; sleep 1; done
"""


def _mounts(plan: NodePlan) -> str:
    folder = shlex.quote(str(plan.folder))
    return f"""\
mount --make-rslave /
hostname {plan.name}
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
# These paths are fixed in kubelet and CNI plugins, so that every node needs its own view of them.
mount --bind {folder}/kubelet /var/lib/kubelet
mount --bind {folder}/cni-state /var/lib/cni
mount --bind {folder}/pod-logs /var/log/pods
mount --bind {folder}/container-logs /var/log/containers
mount --make-rshared /
"""


def _addresses(plan: NodePlan) -> str:
    routes = "\n".join(f"ip route add {other.pod_cidr} via {other.address}" for other in plan.neighbours)
    return f"""\
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip addr add {plan.address}/24 dev eth0
ip link set eth0 up
ip route add default via {plan.gateway}
{routes}
# A connection to a Service from before kube-proxy knows it has to fail at once: it would go on going astray
# afterwards, for half a minute.
ip rule add iif cni0 to {plan.service_cidr} unreachable
# Both are settings of a network namespace. Without the second, replies between pods of one node bypass the
# translation of a Service's address.
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
"""


def _supervise(plan: NodePlan) -> str:
    """The shell function that runs a daemon for as long as the node lives."""
    logs = shlex.quote(str(plan.folder / "logs"))
    return f"""\
supervise() {{
  local name=$1; shift
  while :; do
    "$@" >> {logs}/$name.log 2>&1 || true
    echo "ended; again in a second" >> {logs}/$name.log
    sleep 1
  done
}}
"""


def node_services(plan: NodePlan, *, kubernetes: Path) -> list[tuple[str, Sequence[str | Path]]]:
    """Name and command of each daemon that needs containerd's socket or the network to be there."""
    services: list[tuple[str, Sequence[str | Path]]] = [
        ("kube-proxy", [
            kubernetes, "kube-proxy",
            f"--kubeconfig={plan.kube_proxy_kubeconfig}",
            f"--cluster-cidr={plan.cluster_pod_cidr}",
            f"--hostname-override={plan.name}",
            "--proxy-mode=iptables",
            "--iptables-min-sync-period=100ms",
            # The table's size belongs to the host and cannot be written from here.
            "--conntrack-max-per-core=0",
        ]),
        ("network-policy", [
            kubernetes, "network-policy",
            f"--kubeconfig={plan.network_policy_kubeconfig}",
            f"--node={plan.name}",
            f"--ready-file={plan.network_policy_ready}",
        ]),
        ("kubelet", [
            kubernetes, "kubelet",
            f"--config={plan.folder / 'kubelet.json'}",
            f"--kubeconfig={plan.kubelet_kubeconfig}",
            f"--hostname-override={plan.name}",
            f"--node-ip={plan.address}",
            "--root-dir=/var/lib/kubelet",
            *(f"--node-labels={label}={value}" for label, value in GPU_POOL_LABEL.items() if plan.gpus),
        ]),
    ]  # fmt: skip
    if plan.gpus:
        services.append(("device-plugin", [kubernetes, "device-plugin", f"--count={plan.gpus}"]))
    return services


def kubelet_config(plan: NodePlan, *, host_memory_gib: float) -> str:
    """A KubeletConfiguration as JSON. Every node sees the whole machine's memory, so that what is reserved is
    the rest beyond the node's share; that caps what pods may use together, too."""
    certificate = plan.pki / f"system-node-{plan.name}"
    reserved_mib = max(0, int((host_memory_gib - plan.memory_gib) * 1024))
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(plan.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{certificate}.crt",
            "tlsPrivateKeyFile": f"{certificate}.key",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": plan.cgroup_root,
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{plan.containerd_socket}",
            "clusterDNS": [str(plan.dns)],
            "clusterDomain": "cluster.local",
            # Pods see cluster names only: no search domain or server of the host.
            "resolvConf": "",
            "registerWithTaints": [GPU_TAINT] if plan.gpus else [],
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {},
            "systemReserved": {"memory": f"{reserved_mib}Mi"},
            "syncFrequency": "5s",
            "nodeStatusUpdateFrequency": "1s",
            "nodeStatusReportFrequency": "10s",
            "nodeLeaseDurationSeconds": 4,
            "volumeStatsAggPeriod": "-1s",
            "serializeImagePulls": False,
        },
        indent=2,
    )


def containerd_config(plan: NodePlan) -> str:
    return f"""\
version = 2
root = "{plan.containerd_root}"
state = "/run/containerd"
[grpc]
address = "{plan.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE no process may protect itself from the OOM killer.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{plan.folder / "cni-conf"}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def cni_config(plan: NodePlan) -> str:
    """Pods keep their addresses on the way to other nodes (no masquerade): NetworkPolicies and logs see
    them."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(plan.pod_cidr)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}, indent=2)
