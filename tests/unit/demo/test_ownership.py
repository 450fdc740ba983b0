"""The demo takes and deletes no namespace that it did not make."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deepseek_demo import operator_release
from deepseek_demo.commands import StepFailed
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store.resources import namespace
from deepseek_demo.ownership import delete_own, require_own

OWN = {"deepseek.dev/demo": "true"}


@dataclass(frozen=True)
class _Cluster(Kubectl):
    namespaces: dict[str, dict[str, str] | None] = field(default_factory=dict)  # labels by name
    ran: list[str] = field(default_factory=list)

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any] | None:
        if name not in self.namespaces:
            return None
        labels = self.namespaces[name]
        return {"metadata": {"name": name} | ({"labels": labels} if labels is not None else {})}

    def run(self, *arguments: str) -> None:
        self.ran.append(" ".join(arguments))


def _cluster(**namespaces: dict[str, str] | None) -> _Cluster:
    return _Cluster(("kubectl",), Path("/dev/null"), namespaces=namespaces)


def test_what_the_demo_makes_is_marked() -> None:
    assert namespace("object-store")["metadata"]["labels"].items() >= OWN.items()


def test_namespaces_that_are_missing_or_its_own_are_taken() -> None:
    require_own(_cluster(research=OWN), ("research", "missing"))


@pytest.mark.parametrize("labels", [None, {}, {"team": "nlp"}, {"deepseek.dev/demo": "false"}])
def test_a_namespace_of_somebody_else_is_refused_by_name(labels: dict[str, str] | None) -> None:
    with pytest.raises(StepFailed, match="namespace research: exists") as refused:
        require_own(_cluster(research=labels, mine=OWN), ("mine", "research"))
    assert "kubectl label namespace research deepseek.dev/demo=true" in str(refused.value)


def test_only_its_own_namespace_is_deleted_and_by_the_label() -> None:
    cluster = _cluster(research={"team": "nlp"}, store=OWN)
    assert not delete_own(cluster, "research")
    assert not delete_own(cluster, "missing")
    assert cluster.ran == []
    assert delete_own(cluster, "store")
    assert cluster.ran == [
        "delete namespace --selector deepseek.dev/demo=true,kubernetes.io/metadata.name=store"
    ]


def test_a_release_of_somebody_else_stays(tmp_path: Path) -> None:
    cluster = _cluster(**{"deepseek-system": {}})
    assert not operator_release.remove(cluster, ("false",), log=tmp_path / "helm.log")
    assert cluster.ran == []
