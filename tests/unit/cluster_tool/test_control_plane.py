"""What the control plane is told."""

import json
from collections.abc import Sequence

import pytest
import yaml

from local_kubernetes.control_plane import AUDIT_POLICY, flags
from local_kubernetes.settings import Mode, Network, Settings


def value(arguments: Sequence[str], flag: str) -> str:
    return next(argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{flag}="))


@pytest.mark.parametrize(("mode", "address"), [("nodes", "10.240.3.254"), ("control-plane", "127.77.3.1")])
def test_the_api_server_listens_where_its_clients_are(mode: Mode, address: str) -> None:
    arguments = flags(Settings(mode=mode), Network(3))["kube-apiserver"]
    assert value(arguments, "bind-address") == address


def test_etcd_has_no_authentication_and_so_listens_out_of_the_reach_of_pods() -> None:
    arguments = flags(Settings(), Network(3))["etcd"]
    for flag in ("listen-client-urls", "listen-peer-urls"):
        assert value(arguments, flag).startswith("http://127.")


def test_the_audit_log_is_about_service_accounts_and_never_holds_bodies() -> None:
    rules = yaml.safe_load(AUDIT_POLICY)["rules"]
    levels = {json.dumps(rule.get("userGroups")): rule["level"] for rule in rules}
    assert levels[json.dumps(["system:serviceaccounts"])] == "Metadata"
    assert set(levels.values()) == {"None", "Metadata"}
