import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    path = Path(__file__).parents[3] / ".ci" / "sbom.py"
    spec = importlib.util.spec_from_file_location("sbom", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_component_that_no_scanner_could_look_up_is_named(sbom: ModuleType) -> None:
    components = [
        {"name": "torch", "version": "2.13.0", "purl": "pkg:pypi/torch@2.13.0"},
        {"name": "vendored", "version": "1.0"},
        {"name": "unversioned", "purl": "pkg:pypi/unversioned"},
    ]
    assert sbom.unidentified(components) == ["vendored", "unversioned"]
