"""Talks to a containerd over its socket, in the namespace that kubelets use. It starts none."""

from pathlib import Path

from local_kubernetes.archives import Archive
from local_kubernetes.commands import run, succeeds
from local_kubernetes.errors import LocalKubernetesError

_NAMESPACE = "k8s.io"


def image_names(socket: Path) -> set[str]:
    """The full names of all images in the store."""
    return set(_ctr(socket, "images", "list", "--quiet").split())


def import_archive(socket: Path, archive: Archive) -> None:
    """Imports and unpacks. Raises LocalKubernetesError, naming the layers, when the base image is not
    there."""
    if archive.missing:
        present = set(_ctr(socket, "content", "list", "--quiet").split())
        absent = [digest for digest in archive.missing if digest not in present]
        if absent:
            raise LocalKubernetesError(
                f"{archive.path}: carries only its own layers, and the store at {socket} lacks "
                f"{', '.join(absent)}: load the archive of its base image first"
            )
    _ctr(socket, "images", "import", str(archive.path))


def collect_garbage(socket: Path) -> None:
    """Makes containerd remove what no image names. Any synchronous removal does that."""
    anything = next(iter(image_names(socket)), None)
    if anything is not None:
        _ctr(socket, "images", "tag", anything, "localhost/garbage:1")
        _ctr(socket, "images", "remove", "--sync", "localhost/garbage:1")


def answers(socket: Path) -> bool:
    return socket.exists() and succeeds(["ctr", "--address", socket, "--timeout", "2s", "version"])


def _ctr(socket: Path, *arguments: str) -> str:
    return run(["ctr", "--address", socket, "--namespace", _NAMESPACE, *arguments])
