"""What is generated is as the types and the chart say; `make generate` writes it."""

from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.generate import crd_files, differing, dump, main, render_install


def test_crds_and_their_copies_in_the_chart_are_up_to_date(root: Path) -> None:
    assert differing(root, crd_files()) == []


def test_install_yaml_is_the_rendered_chart(root: Path, helm: str) -> None:
    assert differing(root, {Path("manifests/install.yaml"): render_install(root, helm=helm)}) == []


def test_install_yaml_makes_its_namespace_restricted(root: Path) -> None:
    objects = list(yaml.safe_load_all((root / "manifests/install.yaml").read_text()))
    (namespace,) = [each for each in objects if each["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert not [each for each in objects if each["kind"] == "Pod"]


def test_check_tells_what_differs_and_writes_nothing(
    root: Path, helm: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "charts").symlink_to(root / "charts")
    code = main(["--check", "--root", str(tmp_path)], environ={"HELM": helm})
    assert code == 1
    assert "manifests/crds/deepseektrainingjobs.yaml: differs: run `make generate`" in capsys.readouterr().out
    assert not (tmp_path / "manifests").exists()


def test_without_helm_it_says_what_to_do(root: Path, capsys: Any) -> None:
    assert main(["--check", "--root", str(root)], environ={"HELM": "/no/such/helm"}) == 1
    assert "$HELM" in capsys.readouterr().err


def test_numbers_in_strings_stay_strings_for_every_reader_of_yaml() -> None:
    """YAML 1.2 readers, Go's among them, take 3e-4 for a number; PyYAML does not."""
    assert dump({"default": "3e-4", "plain": "text"}) == "default: '3e-4'\nplain: text\n"
