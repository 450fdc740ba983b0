"""The environment decides where the demo runs, and is refused in words when it cannot work."""

from pathlib import Path

import pytest

from deepseek_demo.commands import StepFailed
from deepseek_demo.settings import from_environ


def test_by_default_the_cluster_is_made_here() -> None:
    assert from_environ({}).registry is None


def test_a_current_context_needs_a_registry() -> None:
    with pytest.raises(StepFailed, match="CLUSTER=current without IMAGE_REGISTRY"):
        from_environ({"CLUSTER": "current"})


def test_a_current_context_with_a_registry_is_taken() -> None:
    settings = from_environ({"CLUSTER": "current", "IMAGE_REGISTRY": "registry.example.com/team"})
    assert settings.registry == "registry.example.com/team"


def test_an_unknown_cluster_is_refused() -> None:
    with pytest.raises(StepFailed, match="CLUSTER='kind'"):
        from_environ({"CLUSTER": "kind"})


def test_caches_lie_where_the_user_keeps_caches(tmp_path: Path) -> None:
    settings = from_environ({"XDG_CACHE_HOME": str(tmp_path)})
    assert settings.cache == tmp_path / "deepseek-operator"
    assert settings.requirements_cache == tmp_path / "uv"


def test_certificates_that_do_not_exist_are_not_passed_on(tmp_path: Path) -> None:
    assert from_environ({"SSL_CERT_FILE": str(tmp_path / "none.pem")}).certificates is None
