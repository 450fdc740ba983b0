"""Asks the advisory service about every locked dependency. Fails on a known vulnerability that is not listed
with a reason below; says so, and goes on, where the service cannot be reached."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Advisory id -> why it does not apply or cannot be fixed yet.
ACCEPTED: dict[str, str] = {}


def main() -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        subprocess.run(
            [
                "uv",
                "export",
                "--locked",
                "--quiet",
                "--all-extras",
                "--no-dev",
                "--no-emit-project",
                "--format",
                "requirements-txt",
                "--output-file",
                requirements.name,
            ],
            check=True,
        )
        audit = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip_audit",
                "--requirement",
                requirements.name,
                "--disable-pip",
                "--require-hashes",
                "--format",
                "json",
                "--progress-spinner",
                "off",
                "--timeout",
                "20",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if not audit.stdout.strip().startswith("{"):
        last_line = (audit.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"pip-audit: NOT AUDITED, the advisory service did not answer: {last_line}")
        return 0
    findings = [
        (
            dependency["name"],
            dependency.get("version"),
            vulnerability["id"],
            vulnerability.get("fix_versions"),
        )
        for dependency in json.loads(audit.stdout)["dependencies"]
        for vulnerability in dependency.get("vulns", [])
        if vulnerability["id"] not in ACCEPTED
    ]
    for name, version, advisory, fixed in findings:
        print(f"pip-audit: {name} {version}: {advisory}; fixed in {', '.join(fixed or ['no release yet'])}")
    if not findings:
        print(f"pip-audit: no known vulnerability ({Path('uv.lock').name}; {len(ACCEPTED)} accepted)")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
