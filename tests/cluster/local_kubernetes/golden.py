"""One image store that all nodes of all clusters start from: importing a heavy image takes minutes, copying
this store to a node milliseconds, because blobs are hard links and unpacked layers symbolic ones.

Committed layers are only ever read by nodes, and nodes remove links, never what they point to. The store has
a containerd only while something is imported. It does not know of clusters, but for the folders that it is
copied to."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from local_kubernetes import containerd
from local_kubernetes.archives import Archive
from local_kubernetes.commands import run, wait_until
from local_kubernetes.errors import CommandError, LocalKubernetesError
from local_kubernetes.settings import GOLDEN_DIR
from local_kubernetes.slots import locked

_CONTENT = "io.containerd.content.v1.content"
_METADATA = "io.containerd.metadata.v1.bolt"
_SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs"
_START_SECONDS = 60
_KEPT_TAGS = 2

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{socket}"
[plugins."io.containerd.gc.v1.scheduler"]
# Running nodes point into this store: nothing is removed unless somebody made sure that there are none.
deletion_threshold = 0
mutation_threshold = 0
startup_delay = "1000h"
"""


class GoldenStore:
    def __init__(self, folder: Path = GOLDEN_DIR) -> None:
        self._folder = folder
        self._root = folder / "containerd"

    def identities(self) -> dict[str, str]:
        """Image name -> identity of the archive that it came from; the one used last comes last."""
        try:
            return dict(json.loads(self._names.read_text()))
        except FileNotFoundError:
            return {}

    def has(self, archive: Archive) -> bool:
        known = self.identities()
        return all(known.get(name) == archive.identity for name in archive.references)

    def add(self, archive: Archive) -> None:
        """Imports the archive unless the store has it. Raises LocalKubernetesError."""
        with locked(self._lock):
            before = self.identities()
            if not self.has(archive):
                with self._containerd() as socket:
                    containerd.import_archive(socket, archive)
                if any(name in before for name in archive.references):
                    self._garbage.touch()
            others = {name: value for name, value in before.items() if name not in archive.references}
            self._write_names({**others, **dict.fromkeys(archive.references, archive.identity)})

    def prune(self) -> None:
        """Removes images that newer ones replaced. Only for when no node runs on this machine."""
        with locked(self._lock):
            names = self.identities()
            stale = superseded(list(names))
            if not stale and not self._garbage.exists():
                return
            with self._containerd() as socket:
                containerd.remove_images(socket, stale)
            self._write_names({name: value for name, value in names.items() if name not in stale})
            self._garbage.unlink(missing_ok=True)

    def copy_to(self, root: Path) -> dict[str, str]:
        """Makes `root`, which must not exist, the root folder of a node's containerd with all images of this
        store. Returns what `identities` says of them."""
        with locked(self._lock):
            (root / _SNAPSHOTS / "snapshots").mkdir(parents=True)
            if not (self._root / _METADATA).exists():
                return {}
            self._link_content(root)
            shutil.copytree(self._root / _METADATA, root / _METADATA)
            shutil.copy2(self._root / _SNAPSHOTS / "metadata.db", root / _SNAPSHOTS / "metadata.db")
            for snapshot in (self._root / _SNAPSHOTS / "snapshots").iterdir():
                (root / _SNAPSHOTS / "snapshots" / snapshot.name).symlink_to(snapshot)
            return self.identities()

    def _link_content(self, root: Path) -> None:
        try:
            run(["cp", "--archive", "--link", self._root / _CONTENT, root])
        except CommandError as error:
            raise LocalKubernetesError(
                f"{root} and {self._folder} must lie on one file system, so that images can be shared by "
                f"links: choose another state folder ({error})"
            ) from error

    @contextmanager
    def _containerd(self) -> Iterator[Path]:
        """The socket of a containerd on this store, in namespaces that end with it and with the tool."""
        self._folder.mkdir(parents=True, exist_ok=True)
        socket = self._folder / "containerd.sock"
        config = self._folder / "containerd.toml"
        log = self._folder / "containerd.log"
        state = self._folder / "state"
        config.write_text(_CONFIG.format(root=self._root, state=state, socket=socket))
        socket.unlink(missing_ok=True)
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["setpriv", "--pdeathsig", "KILL", *namespaces, "containerd", "--config", str(config)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

        def still_runs() -> None:
            if process.poll() is not None:
                raise LocalKubernetesError(f"containerd ended with {process.returncode}; see {log}")

        try:
            wait_until(
                lambda: containerd.accepts_connections(socket),
                what="containerd of the golden store",
                seconds=_START_SECONDS,
                still_possible=still_runs,
            )
            yield socket
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(state, ignore_errors=True)

    def _write_names(self, names: dict[str, str]) -> None:
        """All of it or nothing."""
        unfinished = self._names.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(names, indent=2))
        unfinished.rename(self._names)

    @property
    def _names(self) -> Path:
        return self._folder / "images.json"

    @property
    def _garbage(self) -> Path:
        return self._folder / "garbage"

    @property
    def _lock(self) -> Path:
        return self._folder / "lock"


def superseded(names: Sequence[str]) -> list[str]:
    """Of full image names, least recently used first, those that are not among the last of their repository:
    builds are often tagged by content, so that a new one replaces no name."""
    kept: dict[str, int] = {}
    stale = []
    for name in reversed(names):
        repository = name.rpartition(":")[0]
        kept[repository] = kept.get(repository, 0) + 1
        if kept[repository] > _KEPT_TAGS:
            stale.append(name)
    return stale
