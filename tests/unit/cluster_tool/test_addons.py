"""What runs in every cluster from the start."""

from local_kubernetes.addons import coredns, kwok_node_statuses, kwok_nodes
from local_kubernetes.settings import Network, Settings


def test_names_resolve_on_a_node_while_the_others_are_dead() -> None:
    objects = {document["kind"]: document for _, document in coredns(Network(3))}
    assert objects["DaemonSet"]["spec"]["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert objects["Service"]["spec"]["internalTrafficPolicy"] == "Local"
    assert objects["Service"]["spec"]["clusterIP"] == "10.211.0.10"


def test_kwok_nodes_look_like_the_real_ones() -> None:
    settings = Settings(mode="control-plane", nodes=2)
    nodes = [node for _, node in kwok_nodes(settings)]
    statuses = [status["status"] for _, status in kwok_node_statuses(settings)]
    assert [node["spec"].get("taints") is not None for node in nodes] == [False, True]
    assert [node["metadata"]["labels"].get("pool") for node in nodes] == [None, "gpu"]
    assert [status["allocatable"].get("nvidia.com/gpu") for status in statuses] == [None, "4"]
