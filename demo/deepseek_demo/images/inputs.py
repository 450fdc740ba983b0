"""What an image is made from, as a digest: the same tree gives the same tag on every machine.

Pure but for reading files. It knows the layout of the repository, nothing about builders.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

# The parts of the source tree that each image contains or is built by; see Dockerfile.
_BUILD_FILES = ("Dockerfile", "docker", "uv.lock")
_OPERATOR_CODE = (
    "operator/deepseek_operator",
    "workloads/deepseek_workloads/__init__.py",
    "workloads/deepseek_workloads/contract",
    "workloads/deepseek_workloads/plan",
)
_WORKER_CODE = ("workloads/deepseek_workloads",)
_CODE = {"operator": _OPERATOR_CODE, "worker": _WORKER_CODE, "worker-horovod": _WORKER_CODE}
TARGETS = ("operator", "worker")  # the images that every installation runs
OPTIONAL_TARGETS = ("worker-horovod",)  # those that are built on request


def image_tag(root: Path, target: str, *, base_image: str) -> str:
    """Twelve hexadecimal digits over the base's name, the build's files and the code in `target`."""
    digest = hashlib.sha256(f"{target}\n{base_image}\n".encode())
    for path in _files(root, (*_BUILD_FILES, *_CODE[target])):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = path.stat().st_mode & 0o100 != 0
        digest.update(f"{path.relative_to(root)}\n{executable}\n{content}\n".encode())
    return digest.hexdigest()[:12]


def _files(root: Path, parts: Iterable[str]) -> list[Path]:
    """Every file below the parts, in one order. Raises FileNotFoundError for a part that is not there."""
    found: list[Path] = []
    for part in parts:
        path = root / part
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            found += [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        else:
            raise FileNotFoundError(f"{path}: the images are built from it, and it does not exist")
    return sorted(set(found))
