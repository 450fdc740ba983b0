"""A DeepSeekModelService as its users meet it: address, pods, a wait for a switch, a constant load."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from harness.kubectl import condition, conditions_in_words
from harness.platform import Object, Platform
from harness.serving_load import API_KEY_VARIABLE, authorization
from harness.waiting import wait_until

DEADLINE = 180.0
PORT = 8000
FOLDER = Path(__file__).parents[1]


def wait_for_active(platform: Platform, name: str, *, revision: str) -> Object:
    """Until it serves alone: nothing is left of the revision before."""

    def settled(service: Object) -> bool:
        status = service.get("status", {})
        active = (status.get("active") or {}).get("revision")
        return active == revision and status.get("state") == "Serving" and not status.get("retired")

    def given_up(service: Object) -> str:
        seen = service.get("status", {}).get("observedGeneration") == service["metadata"]["generation"]
        failed = condition(service, "RevisionFailed")["status"] == "True"
        return conditions_in_words(service) if seen and failed else ""

    return wait_until(
        lambda: platform.get("dsserve", name),
        holds=settled,
        what=f"{revision} to serve",
        deadline_seconds=DEADLINE,
        give_up=given_up,
        describe=conditions_in_words,
    )


def base_url(platform: Platform, name: str) -> str:
    """As this machine reaches the Service: by its address, through kube-proxy."""
    return f"http://{platform.get('service', name)['spec']['clusterIP']}:{PORT}"


def replica_pods(platform: Platform, name: str) -> list[Object]:
    return platform.pods(name, role="worker")


@contextmanager
def constant_load(
    platform: Platform, name: str, *, report: dict[str, Any], api_key: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Another process sends requests meanwhile; afterwards `report` says what became of them."""
    command = [sys.executable, "-m", "harness.serving_load", base_url(platform, name), name]
    environment = {**os.environ, API_KEY_VARIABLE: api_key}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=FOLDER, env=environment, **pipes) as load:
        try:
            yield load
            output, _ = load.communicate(timeout=120)
            report |= json.loads(output)
        finally:
            load.kill()


def lost(report: dict[str, Any]) -> dict[str, list[str]]:
    """The failures of each kind of client that had any."""
    return {name: tally["failures"] for name, tally in report.items() if tally["failures"]}


async def post(url: str, body: Object, *, api_key: str = "") -> tuple[int, Object]:
    """Status and JSON of the answer."""
    async with (
        aiohttp.ClientSession(headers=authorization(api_key)) as session,
        session.post(url, json=body) as response,
    ):
        return response.status, dict(await response.json())
