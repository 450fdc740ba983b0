"""What nodes are told."""

import json
from pathlib import Path

import pytest

from local_kubernetes.node_files import (
    NodePlan,
    cni_config,
    containerd_config,
    init_script,
    kubelet_config,
    node_services,
    plan_node,
)
from local_kubernetes.settings import GPU_TAINT, Network, Settings

KUBERNETES = Path("/cache/kubernetes")


def plan(node: str, *, nodes: int = 2) -> NodePlan:
    return plan_node(Settings(nodes=nodes), Network(3), node, cgroup_root=f"/root/{node}")


def test_a_node_knows_the_way_to_the_pods_of_all_others() -> None:
    script = init_script(plan("node2", nodes=3), kubernetes=KUBERNETES)
    assert "ip route add 10.195.1.0/24 via 10.240.3.1" in script
    assert "ip route add 10.195.3.0/24 via 10.240.3.3" in script
    assert "10.195.2.0/24 via" not in script


def test_mounts_are_private_before_anything_is_mounted() -> None:
    mounts = [
        line for line in init_script(plan("node1"), kubernetes=KUBERNETES).splitlines() if "mount " in line
    ]
    assert mounts[0] == "mount --make-rslave /"


@pytest.mark.parametrize(("node", "has_gpus"), [("node1", False), ("node2", True)])
def test_the_gpu_pool_is_every_node_but_the_first(node: str, has_gpus: bool) -> None:
    services = dict(node_services(plan(node), kubernetes=KUBERNETES))
    config = json.loads(kubelet_config(plan(node), host_memory_gib=24))
    assert ("device-plugin" in services) == has_gpus
    assert ("--node-labels=pool=gpu" in services["kubelet"]) == has_gpus
    assert config["registerWithTaints"] == ([GPU_TAINT] if has_gpus else [])


def test_pods_may_use_the_nodes_share_of_the_machine() -> None:
    config = json.loads(kubelet_config(plan("node1"), host_memory_gib=24))
    assert config["systemReserved"] == {"memory": f"{14 * 1024}Mi"}


def test_a_machine_smaller_than_a_node_reserves_nothing() -> None:
    config = json.loads(kubelet_config(plan("node1"), host_memory_gib=8))
    assert config["systemReserved"] == {"memory": "0Mi"}


def test_kubelets_never_share_a_control_group() -> None:
    roots = {
        json.loads(kubelet_config(plan(node), host_memory_gib=24))["cgroupRoot"]
        for node in ("node1", "node2")
    }
    assert len(roots) == 2


def test_pods_keep_their_addresses_on_the_way_to_other_nodes() -> None:
    bridge = json.loads(cni_config(plan("node2")))["plugins"][0]
    assert bridge["ipMasq"] is False
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.195.2.0/24"}]]


def test_containerd_keeps_its_sockets_and_data_in_the_nodes_folder() -> None:
    wanted = plan("node1")
    text = containerd_config(wanted)
    assert f'root = "{wanted.folder}/containerd"' in text
    assert f'address = "{wanted.folder}/containerd.sock"' in text
