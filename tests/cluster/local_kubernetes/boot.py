"""Boots a cluster from nothing. It expects that nothing of the cluster exists; whether that is so, cluster.py
knows."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local_kubernetes import addons, cgroups, control_plane, daemons, network, packages, pki, slots, sysctls
from local_kubernetes.api import Api
from local_kubernetes.build import binary
from local_kubernetes.commands import wait_until
from local_kubernetes.daemons import Daemon
from local_kubernetes.errors import InTheWayError
from local_kubernetes.golden import GoldenStore
from local_kubernetes.images import add_system_images
from local_kubernetes.node import Node
from local_kubernetes.settings import Network, Paths, Settings

Report = Callable[[str], None]
_READY_SECONDS = 180
_STAGES = Path(__file__).with_name("kwok_stages.yaml")


def install_and_build(settings: Settings, report: Report) -> None:
    """Everything that is there already at the next boot: Debian packages and binaries."""
    nodes = settings.mode == "nodes"
    report("packages and binaries (minutes the first time)")
    packages.ensure({**packages.CONTROL_PLANE_PROGRAMS, **(packages.NODE_PROGRAMS if nodes else {})})
    needed = ("kubernetes", "coredns", "pause") if nodes else ("kubernetes", "kwok")
    with ThreadPoolExecutor() as pool:
        list(pool.map(binary, needed))


def boot(settings: Settings, report: Report) -> None:
    """Returns when nodes are ready and DNS answers. Raises LocalKubernetesError; then some of it may run."""
    install_and_build(settings, report)
    slot = slots.claim(settings.state_dir)
    net = Network(slot)
    group = cgroups.group_of(settings.name)
    if cgroups.remaining(group):
        raise InTheWayError(
            f"control group {group}: exists; a cluster named {settings.name} with another state folder is "
            "there. Choose another --name, or remove that cluster (down --state FOLDER)"
        )
    network.require_free(net, settings.mode)
    paths = Paths(settings.state_dir)
    paths.state.mkdir(parents=True, exist_ok=True)
    paths.settings.write_text(settings.to_json())
    pki.create_pki(settings, net)
    _write_kubectl(paths)
    api = Api(net.api_url(settings.mode), pki=paths.pki)
    if settings.mode == "nodes":
        _boot_with_nodes(settings, net, api, report)
    else:
        _boot_control_plane(settings, net, api, report)
    paths.booted.touch()


def _boot_control_plane(settings: Settings, net: Network, api: Api, report: Report) -> None:
    report("control plane")
    control_plane.start(settings, net, kubernetes=binary("kubernetes"), api=api)
    report(f"{settings.nodes} KWOK nodes")
    addons.apply_all(api, addons.kwok_nodes(settings))
    addons.apply_all(api, addons.kwok_node_statuses(settings))
    kwok = kwok_daemon(settings)
    paths = Paths(settings.state_dir)
    arguments = [
        f"--kubeconfig={paths.kubeconfig('kwok')}",
        f"--config={_STAGES}",
        f"--manage-nodes-with-annotation-selector={addons.KWOK_ANNOTATION}=fake",
        f"--cidr={net.pod_cidr}",
        f"--node-ip={net.host_address}",
        "--node-lease-duration-seconds=4",
    ]
    daemons.start(kwok, [binary("kwok"), *arguments], cwd=paths.state)
    _wait_for_nodes(settings, api, still_possible=kwok.require_running)


def kwok_daemon(settings: Settings) -> Daemon:
    return control_plane.daemon(settings, "kwok")


def _boot_with_nodes(settings: Settings, net: Network, api: Api, report: Report) -> None:
    golden = GoldenStore()
    network.load_kernel_modules()
    sysctls.remember()
    if not slots.others(settings.state_dir):
        golden.prune()
    report("images that every node has")
    add_system_images(golden, Paths(settings.state_dir).state)
    network.create_bridge(net)
    nodes = [Node(settings, net, name) for name in settings.node_names]
    report(f"control plane and {settings.nodes} nodes")
    kubernetes = binary("kubernetes")

    def start(node: Node) -> None:
        node.provision(golden)
        node.start(kubernetes=kubernetes)

    with ThreadPoolExecutor() as pool:
        starting = [pool.submit(start, node) for node in nodes]
        control_plane.start(settings, net, kubernetes=kubernetes, api=api)
        addons.apply_all(api, [*addons.network_policy_rights(), *addons.coredns(net)])
        for future in starting:
            future.result()
    network.route_services(net, through=nodes[0].name)

    def all_run() -> None:
        for node in nodes:
            node.require_running()

    _wait_for_nodes(settings, api, still_possible=all_run)
    wait_until(
        lambda: all(node.enforces_network_policies for node in nodes),
        what="enforcement of NetworkPolicies (see network-policy.log in the nodes' folders)",
        seconds=_READY_SECONDS,
        still_possible=all_run,
    )
    report("DNS")
    wait_for_dns(api, nodes=settings.nodes)


def wait_for_dns(api: Api, *, nodes: int) -> None:
    """Returns when CoreDNS is ready on that many nodes."""

    def is_ready() -> bool:
        status = api.get("/apis/apps/v1/namespaces/kube-system/daemonsets/coredns").get("status", {})
        return int(status.get("numberReady", 0)) >= nodes

    wait_until(is_ready, what="DNS ready (kubectl -n kube-system get pods says more)", seconds=_READY_SECONDS)


def _wait_for_nodes(settings: Settings, api: Api, *, still_possible: Callable[[], None]) -> None:
    def all_ready() -> bool:
        listed = {node["metadata"]["name"]: node for node in api.items("/api/v1/nodes")}
        return all(
            name in listed and is_node_ready(listed[name], gpus=settings.gpus(name))
            for name in settings.node_names
        )

    wait_until(all_ready, what="nodes ready", seconds=_READY_SECONDS, still_possible=still_possible)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    wait_until(lambda: api.exists(account), what="default ServiceAccount", seconds=_READY_SECONDS)


def is_node_ready(node: dict[str, object], *, gpus: int) -> bool:
    """Whether a Node object says Ready, and offers the GPUs that it should."""
    status = json.loads(json.dumps(node.get("status", {})))
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return ready and int(status.get("allocatable", {}).get("nvidia.com/gpu", "0")) == gpus


def _write_kubectl(paths: Paths) -> None:
    write_wrapper(paths, "kubectl", f"{binary('kubernetes')} kubectl")


def write_wrapper(paths: Paths, name: str, command: str) -> Path:
    """A command that uses this cluster unless the caller says otherwise."""
    target = paths.bin / name
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        f'#!/bin/sh\nexport KUBECONFIG="${{KUBECONFIG:-{paths.kubeconfig("admin")}}}"\nexec {command} "$@"\n'
    )
    target.chmod(0o755)
    return target
