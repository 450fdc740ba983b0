"""The tag of an image is a function of what the image is made from, and of nothing else."""

import os
from pathlib import Path

import pytest

from deepseek_demo.images.inputs import image_tag

FILES = (
    "Dockerfile",
    "docker/install-requirements",
    "uv.lock",
    "operator/deepseek_operator/__main__.py",
    "workloads/deepseek_workloads/__init__.py",
    "workloads/deepseek_workloads/contract/layout.py",
    "workloads/deepseek_workloads/plan/presets.py",
    "workloads/deepseek_workloads/train/loop.py",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return tmp_path


def tag(tree: Path, target: str = "worker", base: str = "base:1") -> str:
    return image_tag(tree, target, base_image=base)


def test_times_and_bytecode_do_not_change_the_tag(tree: Path) -> None:
    before = tag(tree)
    os.utime(tree / FILES[-1], (1, 1))
    cache = tree / "workloads/deepseek_workloads/__pycache__/x.pyc"
    cache.parent.mkdir()
    cache.write_bytes(b"compiled")
    assert tag(tree) == before


@pytest.mark.parametrize("name", ["Dockerfile", "docker/install-requirements", "uv.lock"])
@pytest.mark.parametrize("target", ["operator", "worker"])
def test_what_builds_every_image_changes_every_tag(tree: Path, name: str, target: str) -> None:
    before = tag(tree, target)
    (tree / name).write_text("other")
    assert tag(tree, target) != before


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("workloads/deepseek_workloads/train/loop.py", {"worker"}),
        ("operator/deepseek_operator/__main__.py", {"operator"}),
        ("workloads/deepseek_workloads/contract/layout.py", {"operator", "worker"}),
    ],
)
def test_code_changes_the_images_that_contain_it(tree: Path, name: str, changes: set[str]) -> None:
    targets = ("operator", "worker")
    before = {target: tag(tree, target) for target in targets}
    (tree / name).write_text("other")
    assert {target for target in targets if tag(tree, target) != before[target]} == changes


def test_a_file_that_became_executable_is_another_file(tree: Path) -> None:
    before = tag(tree)
    (tree / "docker/install-requirements").chmod(0o755)
    assert tag(tree) != before


def test_a_moved_file_is_another_tree(tree: Path) -> None:
    before = tag(tree)
    (tree / FILES[-1]).rename((tree / FILES[-1]).with_name("other.py"))
    assert tag(tree) != before


def test_another_base_is_another_image(tree: Path) -> None:
    assert tag(tree, base="base:1") != tag(tree, base="base:2")


def test_a_part_that_is_missing_is_named(tree: Path) -> None:
    (tree / "uv.lock").unlink()
    with pytest.raises(FileNotFoundError, match=r"uv\.lock"):
        tag(tree)
