import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from deepseek_demo.images import OPTIONAL_TARGETS, TARGETS

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    path = ROOT / ".ci" / "sbom.py"
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


def test_every_image_of_the_project_has_a_bill_of_materials(sbom: ModuleType) -> None:
    assert set(sbom.IMAGES) == {*TARGETS, *OPTIONAL_TARGETS}


def test_horovod_which_no_lock_file_names_is_in_the_one_of_its_image(sbom: ModuleType) -> None:
    component = sbom.built_component(ROOT / "docker/horovod")
    script = (ROOT / "docker/horovod/build-wheel").read_text()
    assert f"version={component['version']}" in script
    assert f"sha256={component['hashes'][0]['content']}" in script
    assert len(component["pedigree"]["patches"]) == len(list((ROOT / "docker/horovod/patches").iterdir()))
    assert sbom.unidentified([component]) == []


def test_a_build_without_a_version_is_refused(sbom: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "build-wheel").write_text("version=1\n")
    with pytest.raises(ValueError, match="sha256"):
        sbom.built_component(tmp_path)
