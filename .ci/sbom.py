"""Writes a CycloneDX bill of materials for each image, from the lock file that the image is installed from.

It lists Python packages with versions and package URLs; what the base image brings is not in it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

IMAGES = {"operator": "operator", "worker": "workloads"}  # image: extra of pyproject.toml
FOLDER = Path("reports/sbom")
_EXPORT = "uv export --locked --quiet --no-dev --no-emit-project --format cyclonedx1.5"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    status = 0
    for image, extra in IMAGES.items():
        document = subprocess.run(
            [*_EXPORT.split(), "--extra", extra], check=True, capture_output=True, text=True
        ).stdout
        path = FOLDER / f"{image}.cdx.json"
        path.write_text(document)
        components = json.loads(document)["components"]
        nameless = unidentified(components)
        print(f"sbom: {path}: {len(components)} components" + "".join(f"; no purl: {n}" for n in nameless))
        status = status or int(not components or bool(nameless))
    return status


def unidentified(components: list[dict[str, Any]]) -> list[str]:
    """Names of components that no vulnerability scanner could look up: without version or package URL."""
    return [entry["name"] for entry in components if not entry.get("version") or not entry.get("purl")]


if __name__ == "__main__":
    sys.exit(main())
