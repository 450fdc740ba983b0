"""A binary's cache key changes with its sources, and only with them."""

from pathlib import Path

import pytest

from local_kubernetes.build import MODULES, RECIPES, Recipe, binary, content_key
from local_kubernetes.errors import LocalKubernetesError

RECIPE = Recipe("module", "./cmd/one")


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    for name in (
        "go.mod",
        "go.sum",
        "cmd/one/main.go",
        "cmd/two/main.go",
        "shared/code.go",
        "shared/code_test.go",
    ):
        path = tmp_path / "module" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "cmd/one/main.go", "shared/code.go"])
def test_a_change_to_a_source_is_a_new_binary(modules: Path, name: str) -> None:
    before = content_key(RECIPE, modules)
    (modules / "module" / name).write_text("changed")
    assert content_key(RECIPE, modules) != before


@pytest.mark.parametrize("name", ["cmd/two/main.go", "shared/code_test.go", "README.md"])
def test_a_change_to_tests_or_another_command_is_not(modules: Path, name: str) -> None:
    before = content_key(RECIPE, modules)
    (modules / "module" / name).write_text("changed")
    assert content_key(RECIPE, modules) == before


def test_a_new_version_stamp_is_a_new_binary(modules: Path) -> None:
    stamped = Recipe("module", "./cmd/one", stamp="main.version=2")
    assert content_key(stamped, modules) != content_key(RECIPE, modules)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_program_has_a_module_with_recorded_sums(name: str) -> None:
    module = MODULES / RECIPES[name].module
    assert (module / "go.mod").exists()
    assert (module / "go.sum").exists()


def test_an_unknown_program_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LocalKubernetesError, match="no program 'docker': there are coredns, helm"):
        binary("docker")
