"""The Dockerfile and what is said of it elsewhere must agree."""

import re
from pathlib import Path

import pytest

from deepseek_demo.images import OPTIONAL_TARGETS, TARGETS, inputs
from deepseek_demo.images.build import _DEPENDENCIES
from deepseek_demo.images.deliver import _CODE

ROOT = Path(__file__).resolve().parents[4]
IMAGES = [*TARGETS, *OPTIONAL_TARGETS]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def stages() -> dict[str, tuple[str, list[str]]]:
    """name -> (base, instructions)."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in DOCKERFILE.splitlines():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
            found[name] = (match[1], [])
        elif found and line.strip() and not line.startswith("#"):
            found[name][1].append(line)
    return found


def ancestry(stage: str) -> list[str]:
    base = stages()[stage][0]
    return [*ancestry(base), stage] if base in stages() else [stage]


def code_stage(target: str) -> str:
    """Variants of an image share its code."""
    return f"{target.partition('-')[0]}-code"


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_runs_as_an_ordinary_user_from_a_module(target: str) -> None:
    instructions = stages()[target][1]
    assert "USER 1000:1000" in instructions
    assert any(line.startswith('ENTRYPOINT ["python", "-m", "deepseek_') for line in instructions)


@pytest.mark.parametrize("target", IMAGES)
def test_code_is_the_only_layer_above_the_dependencies(target: str) -> None:
    below, layers = ancestry(target)[:-1], stages()[target][1]
    assert tuple(stage for stage in below if stage != "base") == _DEPENDENCIES[target]
    copies = [line for line in layers if line.startswith(("COPY", "RUN", "ADD"))]
    assert copies == [f"COPY --from={code_stage(target)} /{_CODE} /{_CODE}"]


@pytest.mark.parametrize("target", IMAGES)
def test_the_tag_covers_all_code_in_the_image(target: str) -> None:
    copied = [line.split()[1] for line in stages()[code_stage(target)][1] if line.startswith("COPY")]
    assert tuple(copied) == inputs._CODE[target]


def test_the_operator_image_has_no_code_that_needs_torch() -> None:
    copied = " ".join(stages()["operator-code"][1])
    assert "deepseek_workloads/train" not in copied
    assert "deepseek_workloads/model" not in copied


def test_only_its_own_images_need_horovod_to_be_built() -> None:
    for target in TARGETS:
        assert not [stage for stage in ancestry(target) if "horovod" in stage]


def test_everything_copied_from_the_tree_passes_dockerignore() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for _, instructions in stages().values():
        for line in instructions:
            if line.startswith("COPY") and "--from" not in line:
                for source in line.split()[1:-1]:
                    assert any(source == path or source.startswith(f"{path}/") for path in allowed), source


def test_uv_has_one_version() -> None:
    makefile = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    dockerfile = re.search(r"^ARG UV_VERSION=(\S+)", DOCKERFILE, re.MULTILINE)
    assert makefile is not None
    assert dockerfile is not None
    assert makefile[1] == dockerfile[1]
