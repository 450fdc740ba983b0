"""What follows from a cluster's settings and slot."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_kubernetes.errors import LocalKubernetesError
from local_kubernetes.settings import ROOT, SLOTS, Network, Settings, differences, volumes_dir


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Upper"}, "name 'Upper': must be"),
        ({"name": "a/../b"}, "lower-case letters"),
        ({"name": "much-too-long-for-a-name"}, "1-20"),
        ({"nodes": 0}, "nodes 0: must be 1 to 99"),
        ({"mode": "swarm"}, "mode 'swarm'"),
        ({"state_dir": Path("/tmp") / ("x" * 90)}, "too long for the Unix sockets"),
    ],
)
def test_bad_settings_name_the_field_and_the_rule(fields: dict[str, object], message: str) -> None:
    with pytest.raises(LocalKubernetesError, match=message):
        Settings(**fields)  # type: ignore[arg-type]


def test_the_state_folder_follows_the_name() -> None:
    assert Settings(name="mine").state_dir == ROOT / "mine"


def test_a_relative_state_folder_means_the_same_one_from_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(state_dir=Path("x")).state_dir == tmp_path / "x"


def test_settings_survive_the_state_folder() -> None:
    settings = Settings(name="mine", mode="control-plane", nodes=3, gpus_per_node=8, state_dir=Path("/s"))
    assert Settings.from_json(settings.to_json()) == settings


def test_a_difference_is_told_as_it_is_and_as_it_was_asked_for() -> None:
    assert differences(Settings(nodes=3), Settings(nodes=2)) == "nodes is 3, asked for 2"


def test_only_the_first_node_has_no_gpus() -> None:
    settings = Settings(nodes=3, gpus_per_node=4)
    assert [settings.gpus(node) for node in settings.node_names] == [0, 4, 4]


def test_volumes_outlive_the_state_folder() -> None:
    settings = Settings(name="mine")
    assert not volumes_dir(settings).is_relative_to(settings.state_dir)


def test_no_two_clusters_share_an_address() -> None:
    for one, other in combinations([Network(slot) for slot in range(SLOTS)], 2):
        ours = (one.node_cidr, one.pod_cidr, one.service_cidr)
        theirs = (other.node_cidr, other.pod_cidr, other.service_cidr)
        assert not any(a.overlaps(b) for a in ours for b in theirs)
        assert one.bridge != other.bridge
        assert one.loopback != other.loopback


@given(slot=st.integers(0, SLOTS - 1), number=st.integers(1, 99))
def test_every_node_has_its_place_in_the_clusters_networks(slot: int, number: int) -> None:
    network, node = Network(slot), f"node{number}"
    assert network.node_address(node) in network.node_cidr
    assert network.node_address(node) != network.host_address
    assert network.node_pod_cidr(node).subnet_of(network.pod_cidr)
    assert len(network.veth(node)) <= 15, "the kernel's limit for names of links"
    assert not network.node_cidr.overlaps(network.pod_cidr)
    assert not network.service_cidr.overlaps(network.pod_cidr)
