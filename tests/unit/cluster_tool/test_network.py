"""Refusals that need no rights; those about links and routes are in the end-to-end tests."""

import socket

import pytest

from local_kubernetes.errors import InTheWayError
from local_kubernetes.network import require_free
from local_kubernetes.settings import SLOTS, Network


def test_a_port_that_somebody_holds_is_named_with_the_remedy() -> None:
    network = Network(SLOTS)
    with socket.socket() as foreign:
        foreign.bind((str(network.loopback), 2379))
        foreign.listen()
        with pytest.raises(InTheWayError, match=r"port 127\.77\.16\.1:2379: .*ss -ltnp"):
            require_free(network, "control-plane")
    require_free(network, "control-plane")
