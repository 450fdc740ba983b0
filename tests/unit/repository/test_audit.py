import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    path = Path(__file__).parents[3] / ".ci" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "not found"}
VULNERABLE = {
    "name": "urllib3",
    "version": "1.26.0",
    "vulns": [{"id": "PYSEC-2021-108", "fix_versions": ["1.26.5"]}],
}


def test_a_known_vulnerability_fails_and_names_the_fix(audit) -> None:
    status, lines = audit.conclude({"dependencies": [CLEAN, SKIPPED, VULNERABLE]})
    assert (status, lines) == (1, ["urllib3 1.26.0: PYSEC-2021-108; fixed in 1.26.5"])


def test_one_that_is_accepted_with_a_reason_passes(audit, monkeypatch) -> None:
    monkeypatch.setitem(audit.ACCEPTED, "PYSEC-2021-108", "only used against our own server")
    status, [line] = audit.conclude({"dependencies": [VULNERABLE]})
    assert (status, line) == (0, "no known vulnerability in 1 dependencies of uv.lock (1 accepted)")


def test_an_index_without_advisories_is_no_clean_audit(audit) -> None:
    status, [line] = audit.conclude({"dependencies": [SKIPPED]})
    assert status == 0
    assert line.startswith("NOT AUDITED")


def test_what_was_skipped_is_named_beside_what_is_clean(audit) -> None:
    _, lines = audit.conclude({"dependencies": [CLEAN, SKIPPED]})
    assert lines[-1] == "NOT AUDITED: torch"


@pytest.mark.parametrize(
    ("errors", "status"),
    [("requests.exceptions.ConnectionError: refused", 0), ("invalid requirement: x", 1), ("", 1)],
)
def test_only_a_service_out_of_reach_is_forgiven(errors, status, audit) -> None:
    assert audit.conclude_failure(errors)[0] == status
