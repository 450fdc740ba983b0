"""Asks the advisory service about every locked dependency of what we ship.

Fails on a known vulnerability that is not listed with a reason below. Where the service cannot be reached it
says so clearly and goes on: a closed network must not look like a clean audit, nor stop a build.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Advisory id -> why it does not apply or cannot be fixed yet.
ACCEPTED: dict[str, str] = {}
_EXPORT = "uv export --locked --quiet --all-extras --no-dev --no-emit-project --format requirements-txt"
_AUDIT = "-m pip_audit --disable-pip --require-hashes --format json --progress-spinner off --timeout 20"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        subprocess.run([*_EXPORT.split(), "--output-file", str(requirements)], check=True)
        command = [sys.executable, *_AUDIT.split(), "--requirement", str(requirements)]
        audit = subprocess.run(command, capture_output=True, text=True, check=False)
    if audit.stdout.strip().startswith("{"):
        status, lines = conclude(json.loads(audit.stdout))
    else:
        status, lines = conclude_failure(audit.stderr)
    print("\n".join(f"pip-audit: {line}" for line in lines))
    return status


def conclude(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Exit status and what to say. A package index without advisories skips every dependency: that is no
    audit."""
    skipped = [entry["name"] for entry in report["dependencies"] if "skip_reason" in entry]
    audited = len(report["dependencies"]) - len(skipped)
    findings = list(_findings(report))
    if findings:
        return 1, findings
    if not audited:
        return 0, [f"NOT AUDITED: this package index has no advisories on any of {len(skipped)} dependencies"]
    clean = f"no known vulnerability in {audited} dependencies of uv.lock ({len(ACCEPTED)} accepted)"
    return 0, [clean, *([f"NOT AUDITED: {', '.join(skipped)}"] if skipped else [])]


def conclude_failure(errors: str) -> tuple[int, list[str]]:
    """0 where the service is out of reach; another failure is one of this audit."""
    last_line = (errors.strip().splitlines() or ["no output"])[-1]
    if any(word in errors for word in ("Connection", "timed out", "ServiceError")):
        return 0, [f"NOT AUDITED: the advisory service cannot be reached from here: {last_line}"]
    return 1, [f"failed: {last_line}"]


def _findings(report: dict[str, Any]) -> Iterator[str]:
    for dependency in report["dependencies"]:
        for vulnerability in dependency.get("vulns", []):
            if vulnerability["id"] not in ACCEPTED:
                fixed = ", ".join(vulnerability.get("fix_versions") or ["no release yet"])
                name, version = dependency["name"], dependency.get("version")
                yield f"{name} {version}: {vulnerability['id']}; fixed in {fixed}"


if __name__ == "__main__":
    sys.exit(main())
