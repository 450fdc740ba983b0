"""What the documents tell a reader to run or to open is there."""

import re
from pathlib import Path

import pytest

from local_kubernetes.build import RECIPES

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=str)
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"(?:^ {4,}|`|[A-Z]=\S+ )make ([a-z][a-z0-9 -]*)", path.read_text(), re.MULTILINE))
    words = {
        word for line in named for word in re.split(r"\s{2,}", line)[0].split() if not word.startswith("-")
    }
    assert words <= TARGETS


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_link_into_the_repository_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text())
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_manifest_and_chart_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\b((?:manifests|charts)/[\w./-]*[\w/])", path.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_both_readmes_show_the_same_commands() -> None:
    assert _commands("README.md") == _commands("README.zh-CN.md")


def _commands(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line.split("  #")[0].rstrip() for line in lines if line.startswith("    ")}


def test_every_program_of_the_cluster_is_built_ahead() -> None:
    [programs] = re.findall(r"for program in ([a-z ]+);", (ROOT / "Makefile").read_text())
    assert set(programs.split()) == set(RECIPES)


def test_the_list_of_targets_describes_each_one() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.+)", text, re.MULTILINE) for name in line.split()}
    described = set(re.findall(r"^([a-z0-9-]+):.*## \S", text, re.MULTILINE))
    assert phony == described
