"""The host's side of the cluster's network: one bridge, a cable to each node, routes to pods and Services."""

import json
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path
from typing import Any

from local_kubernetes.commands import run, succeeds
from local_kubernetes.errors import InTheWayError, LocalKubernetesError
from local_kubernetes.settings import Mode, Network

_BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def require_free(network: Network, mode: Mode) -> None:
    """Raises InTheWayError, naming what holds an address of ours and what to do about it."""
    for port in (2379, 2380, *([6443] if mode == "control-plane" else [])):
        _require_free_port(network.loopback, port)
    if mode == "control-plane":
        return
    if network.bridge in _links():
        raise InTheWayError(
            f"network link {network.bridge}: exists, and no cluster of ours has it; remove it "
            f"(ip link del {network.bridge}) or say which cluster it belongs to (down --state FOLDER)"
        )
    wanted = (network.node_cidr, network.pod_cidr, network.service_cidr)
    for destination, device in _routes():
        for cidr in wanted:
            if destination.overlaps(cidr):
                raise InTheWayError(
                    f"route {destination} by {device}: overlaps {cidr}, which the cluster needs; remove "
                    f"the route (ip route del {destination}), or end what brought it (a VPN, another cluster)"
                )


def _require_free_port(address: IPv4Address, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
        except OSError as error:
            raise InTheWayError(
                f"port {address}:{port}: {error.strerror}; end the program that holds it "
                f"(ss -ltnp sport = {port} names it)"
            ) from error


def _routes() -> list[tuple[IPv4Network, str]]:
    """Every IPv4 route but the default one."""
    listed: list[dict[str, Any]] = json.loads(run(["ip", "-4", "-j", "route", "show"]))
    routes = []
    for route in listed:
        if route["dst"] != "default":
            destination = ip_network(route["dst"], strict=False)
            if isinstance(destination, IPv4Network):
                routes.append((destination, str(route.get("dev", "?"))))
    return routes


def load_kernel_modules() -> None:
    """Loads what kernels may carry as modules. Raises LocalKubernetesError without bridge netfilter."""
    for module in ("overlay", "br_netfilter", "ip_set", "xt_set"):
        succeeds(["modprobe", module])
    if not _BRIDGE_NETFILTER.exists():
        raise LocalKubernetesError(
            f"{_BRIDGE_NETFILTER}: missing; this kernel has no br_netfilter, which Services and "
            "NetworkPolicies between pods of one node need: load or build that module"
        )


def create_bridge(network: Network) -> None:
    run(["ip", "link", "add", network.bridge, "type", "bridge"])
    run(["ip", "addr", "add", f"{network.host_address}/24", "dev", network.bridge])
    run(["ip", "link", "set", network.bridge, "up"])


def connect_node(network: Network, node: str, *, pid: int) -> None:
    """Lays the cable into the network namespace of the process, and the host's route to the node's pods."""
    veth = network.veth(node)
    # The namespace of a killed node may hold its cable for a moment longer.
    succeeds(["ip", "link", "del", veth])
    run(["ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", str(pid)])
    run(["ip", "link", "set", veth, "master", network.bridge, "up"])
    run(["ip", "route", "replace", str(network.node_pod_cidr(node)), "via", str(network.node_address(node))])


def route_services(network: Network, *, through: str) -> None:
    """Makes the host reach Services: one node translates their addresses."""
    run(["ip", "route", "replace", str(network.service_cidr), "via", str(network.node_address(through))])


def set_cable(network: Network, node: str, *, connected: bool) -> None:
    run(["ip", "link", "set", network.veth(node), "up" if connected else "down"])


def is_cable_connected(network: Network, node: str) -> bool:
    listed = json.loads(run(["ip", "-j", "link", "show", network.veth(node)]))
    return "UP" in listed[0]["flags"]


def remove_bridge(network: Network, nodes: Iterable[str]) -> None:
    """Removes bridge and cables; the routes go with them."""
    for link in (*(network.veth(node) for node in nodes), network.bridge):
        succeeds(["ip", "link", "del", link])


def remaining_links(network: Network) -> list[str]:
    """Our links that exist."""
    prefix = f"{network.bridge}-"
    return [name for name in _links() if name == network.bridge or name.startswith(prefix)]


def remaining_routes(network: Network) -> list[str]:
    """Routes into our addresses that exist."""
    ours = (network.node_cidr, network.pod_cidr, network.service_cidr)
    return [str(route) for route, _ in _routes() if any(route.overlaps(cidr) for cidr in ours)]


def _links() -> list[str]:
    listed: list[dict[str, Any]] = json.loads(run(["ip", "-j", "link", "show"]))
    return [str(link["ifname"]) for link in listed]
