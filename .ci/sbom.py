"""Writes a CycloneDX bill of materials for each image, from the lock file that the image is installed from.
Of Horovod, which is built for its image, the script that builds it tells.

It lists Python packages with versions and package URLs; what the base image brings is not in it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# Image: extras of pyproject.toml.
WORKER = ["workloads", "fast-reads"]
IMAGES = {"operator": ["operator"], "worker": WORKER, "worker-horovod": [*WORKER, "horovod"]}
HOROVOD = Path("docker/horovod")
FOLDER = Path("reports/sbom")
_EXPORT = "uv export --locked --quiet --no-dev --no-emit-project --format cyclonedx1.5"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    status = 0
    for image, extras in IMAGES.items():
        document = exported(extras)
        if "horovod" in extras:
            document["components"].append(built_component(HOROVOD))
        path = FOLDER / f"{image}.cdx.json"
        path.write_text(json.dumps(document, indent=2))
        components = document["components"]
        nameless = unidentified(components)
        print(f"sbom: {path}: {len(components)} components" + "".join(f"; no purl: {n}" for n in nameless))
        status = status or int(not components or bool(nameless))
    return status


def exported(extras: list[str]) -> dict[str, Any]:
    """What the lock file says of these extras."""
    options = [option for extra in extras for option in ("--extra", extra)]
    done = subprocess.run([*_EXPORT.split(), *options], check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def built_component(folder: Path) -> dict[str, Any]:
    """Horovod as `build-wheel` makes it: a source distribution by its hash, with our patches.

    Raises ValueError where the script does not name both.
    """
    script = (folder / "build-wheel").read_text()
    found = [re.search(rf"^{name}=(\S+)$", script, re.MULTILINE) for name in ("version", "sha256")]
    if None in found:
        raise ValueError(f"{folder}/build-wheel: must say version=... and sha256=... on lines of their own")
    version, digest = (match[1] for match in found if match)
    patches = [{"type": "unofficial", "diff": {"url": path.as_posix()}} for path in patches_in(folder)]
    return {
        "type": "library",
        "bom-ref": f"horovod@{version}",
        "name": "horovod",
        "version": version,
        "purl": f"pkg:pypi/horovod@{version}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "pedigree": {"patches": patches, "notes": "built from the source distribution of this hash"},
    }


def patches_in(folder: Path) -> list[Path]:
    return sorted((folder / "patches").glob("*.patch"))


def unidentified(components: list[dict[str, Any]]) -> list[str]:
    """Names of components that no vulnerability scanner could look up: without version or package URL."""
    return [entry["name"] for entry in components if not entry.get("version") or not entry.get("purl")]


if __name__ == "__main__":
    sys.exit(main())
