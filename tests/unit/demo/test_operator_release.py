"""The values that the chart is installed with."""

import json
from pathlib import Path

import pytest

from deepseek_demo.kubectl import Kubectl
from deepseek_demo.operator_release import install

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("localhost/operator:01ab", {"repository": "localhost/operator", "tag": "01ab"}),
        (f"registry:5000/operator@{DIGEST}", {"repository": "registry:5000/operator", "digest": DIGEST}),
    ],
)
def test_an_image_is_named_by_tag_or_by_digest(tmp_path: Path, image: str, expected: dict[str, str]) -> None:
    helm = tmp_path / "helm"
    values = tmp_path / "values.json"
    helm.write_text(f'#!/bin/sh\nwhile [ "$1" != --values ]; do shift; done\ncp "$2" {values}\n')
    helm.chmod(0o755)
    install(
        Kubectl(("true",), tmp_path / "log"),
        (str(helm),),
        chart=tmp_path,
        operator_image=image,
        worker_image="worker",
        log=tmp_path / "log",
    )
    assert json.loads(values.read_text()) == {"image": expected, "worker": {"image": "worker"}}
