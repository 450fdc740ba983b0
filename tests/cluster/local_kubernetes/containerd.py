"""Talks to a containerd over its socket, in the namespace that kubelets use. It starts none."""

import socket
from collections.abc import Sequence
from pathlib import Path

from local_kubernetes.archives import Archive
from local_kubernetes.commands import run
from local_kubernetes.errors import LocalKubernetesError

_NAMESPACE = "k8s.io"


def image_names(address: Path) -> set[str]:
    """The full names of all images in the store."""
    return set(_ctr(address, "images", "list", "--quiet").split())


def import_archive(address: Path, archive: Archive) -> None:
    """Imports and unpacks. Raises LocalKubernetesError, naming the layers, when the base image is not
    there."""
    if archive.missing:
        present = set(_ctr(address, "content", "list", "--quiet").split())
        absent = [digest for digest in archive.missing if digest not in present]
        if absent:
            raise LocalKubernetesError(
                f"{archive.path}: carries only its own layers, and the store at {address} lacks "
                f"{', '.join(absent)}: load the archive of its base image first"
            )
    _ctr(address, "images", "import", str(archive.path))


def remove_images(address: Path, names: Sequence[str]) -> None:
    """Removes the images, and everything that no image names. Names that are not there are passed over."""
    present = image_names(address)
    removed = [name for name in names if name in present]
    if not removed and present:
        # Any synchronous removal collects garbage, also that of a name made for it.
        removed = ["localhost/garbage:1"]
        _ctr(address, "images", "tag", next(iter(present)), *removed)
    if removed:
        _ctr(address, "images", "remove", "--sync", *removed)


def accepts_connections(path: Path) -> bool:
    """containerd listens once all of its services are there."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _ctr(address: Path, *arguments: str) -> str:
    return run(["ctr", "--address", address, "--namespace", _NAMESPACE, *arguments])
