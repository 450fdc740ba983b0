"""What is pushed is named by its content."""

from pathlib import Path
from typing import Any

import pytest

from deepseek_demo.images.build import Builder, ImageSettings
from deepseek_demo.images.deliver import push

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """A program in buildah's place that writes the digest where it is told to."""
    program = tmp_path / "buildah"
    program.write_text(
        f'#!/bin/sh\necho "$@"\nwhile [ "$1" != --digestfile ]; do shift; done\nprintf "{DIGEST}\\n" > "$2"\n'
    )
    program.chmod(0o755)
    made = Builder(ImageSettings(tmp_path, tmp_path / "cache", tmp_path / "uv"))
    made.buildah = [str(program)]
    return made


@pytest.mark.parametrize("registry", ["registry.example:5000/team", "registry.example:5000/team/"])
def test_an_image_is_pulled_by_the_digest_that_was_pushed(builder: Any, registry: str) -> None:
    ref = push("localhost/deepseek-worker:0123", builder, registry=registry)
    assert ref == f"registry.example:5000/team/deepseek-worker@{DIGEST}"
    assert "docker://registry.example:5000/team/deepseek-worker:0123" in builder.settings.log.read_text()
