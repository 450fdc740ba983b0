"""The chart, rendered by the real helm with given values."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.generate import CHART, KUBE_VERSION, NAMESPACE, RELEASE
from local_kubernetes import binary

Document = dict[str, Any]
Render = Callable[..., list[Document]]


@pytest.fixture(scope="session")
def helm() -> str:
    """$HELM, or the one that is built from source and cached."""
    return os.environ.get("HELM") or str(binary("helm"))


@pytest.fixture(scope="session")
def helm_template(helm: str, root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`helm template` with these values; does not raise."""

    def template(values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        command = [helm, "template", RELEASE, str(root / CHART), "--namespace", NAMESPACE]
        command += ["--kube-version", KUBE_VERSION, "--values", "-"]
        return subprocess.run(
            command, input=json.dumps(values or {}), capture_output=True, text=True, timeout=120
        )

    return template


@pytest.fixture(scope="session")
def render(helm_template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """The objects of the chart with these values."""

    def rendered(values: Mapping[str, Any] | None = None) -> list[Document]:
        result = helm_template(values)
        assert result.returncode == 0, result.stderr
        return [document for document in yaml.safe_load_all(result.stdout) if document]

    return rendered


@pytest.fixture(scope="session")
def default_objects(render: Render) -> list[Document]:
    return render()
