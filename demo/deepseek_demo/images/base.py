"""The base image: the public Python image, or where no registry answers, one made from Debian's packages.

It knows how to tell the two cases apart and how to make the second; nothing about what is built on top.
"""

import http.client
import re
import shutil
import tempfile
from pathlib import Path

from deepseek_demo.commands import StepFailed, output, require, run

PUBLIC_BASE = "docker.io/library/python:3.11-slim"
_REGISTRY = "registry-1.docker.io"
_SUITE = "bookworm"  # the Debian release whose python3 is 3.11
# python3-distutils provides the virtual package that python3.11-venv needs; debootstrap resolves none.
_PACKAGES = ("python3.11", "python3.11-venv", "python3-distutils", "ca-certificates")
DEBIAN_BASE = f"localhost/deepseek-base:{_SUITE}-1"


def registry_answers(host: str = _REGISTRY, *, timeout: float = 5) -> bool:
    """Whether an image registry speaks there: its API answers 401 (log in first) or 200."""
    connection = http.client.HTTPSConnection(host, timeout=timeout)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in (200, 401)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def debian_mirror() -> str:
    """The mirror this machine's apt uses for the suite, else Debian's own."""
    try:
        targets = output(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
        )
    except StepFailed:
        targets = ""
    found = re.search(rf"^(\S+) {_SUITE}$", targets, re.MULTILINE)
    return found[1] if found else "http://deb.debian.org/debian"


def bootstrap(buildah: list[str], *, work: Path, log: Path) -> None:
    """Make DEBIAN_BASE in buildah's store. Needs root, debootstrap and a Debian mirror."""
    require(["debootstrap"], purpose="a base image from Debian packages")
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as directory:
        root = Path(directory) / "root"
        include = ",".join(_PACKAGES)
        run(
            ["debootstrap", "--variant=minbase", f"--include={include}", _SUITE, str(root), debian_mirror()],
            log=log,
        )
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists", "debootstrap"):
            shutil.rmtree(root / leftover, ignore_errors=True)
        container = output([*buildah, "from", "scratch"]).strip()
        try:
            run([*buildah, "add", "--quiet", container, str(root), "/"], log=log)
            run([*buildah, "config", "--cmd", "bash", container], log=log)
            run([*buildah, "commit", "--quiet", container, DEBIAN_BASE], log=log)
        finally:
            run([*buildah, "rm", container], log=log)
