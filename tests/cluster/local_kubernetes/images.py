"""Which images a cluster's nodes have: the tool's own, and those that its user loads.

The golden store holds what is heavy; thin archives, which carry only their own layers, are kept in the state
folder. From the two a node's store can always be made again."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local_kubernetes import packages
from local_kubernetes.addons import COREDNS_IMAGE
from local_kubernetes.archives import Archive, StaticImage, read_archive, write_static_archive
from local_kubernetes.build import binary
from local_kubernetes.golden import GoldenStore
from local_kubernetes.node import Node
from local_kubernetes.node_files import PAUSE_IMAGE

# Up to here, importing into each node is quicker than a detour over the golden store.
_LIGHT_BYTES = 64 * 1024**2


def add_system_images(golden: GoldenStore, scratch: Path) -> None:
    """Puts the images that every node needs into the golden store."""
    for reference, program in ((PAUSE_IMAGE, "pause"), (COREDNS_IMAGE, "coredns")):
        image = StaticImage(
            reference=reference,
            files={f"/{program}": (binary(program).read_bytes(), 0o755)},
            entrypoint=(f"/{program}",),
        )
        target = scratch / f"{program}.tar"
        write_static_archive(image, target)
        golden.add(read_archive(target))
        target.unlink()


class ImageStore:
    """What every node starts from. Images that it is given before a boot are there when the nodes are, and
    the time to unpack them is not added to the boot's."""

    def __init__(self, golden: GoldenStore) -> None:
        self._golden = golden

    def has_image(self, reference: str) -> bool:
        """Whether nodes that boot from now on have an image of that full name."""
        return reference in self._golden.identities()

    def load_image_archive(self, path: Path) -> None:
        """Unpacks the images of an OCI or docker archive. Raises LocalKubernetesError."""
        packages.ensure(packages.NODE_PROGRAMS)
        self._golden.add(read_archive(path))


def thin_archives(folder: Path) -> list[Archive]:
    """The kept archives, oldest first: a younger one may build on an older one."""
    return [read_archive(path) for path in sorted(folder.glob("*.tar"))]


def bring_up_to_date(node: Node, kept: Sequence[Archive]) -> None:
    """Gives the running node the thin archives that it lacks."""
    for archive in kept:
        node.import_archive(archive)


class Loader:
    """Loads archives into running nodes. `replace_store` restarts a node with a fresh copy of the golden
    store, or says False when pods that matter run there."""

    def __init__(self, golden: GoldenStore, kept: Path, *, replace_store: Callable[[Node], bool]) -> None:
        self._golden = golden
        self._kept = kept
        self._replace_store = replace_store

    def load(self, path: Path, nodes: Sequence[Node]) -> Archive:
        """Returns when every node has the images. Raises LocalKubernetesError."""
        archive = read_archive(path)
        lacking = [node for node in nodes if not _has(node, archive)]
        heavy = archive.size > _LIGHT_BYTES
        if heavy:
            self._golden.add(archive)
        with ThreadPoolExecutor(max_workers=max(1, len(lacking))) as pool:
            list(pool.map(lambda node: self._give(node, archive, heavy=heavy), lacking))
        if not heavy:
            self._keep(archive)
        return archive

    def _give(self, node: Node, archive: Archive, *, heavy: bool) -> None:
        if not (heavy and self._replace_store(node)):
            node.import_archive(archive)

    def _keep(self, archive: Archive) -> None:
        """Also drops the kept archives of the same names: nothing can use them any more."""
        self._kept.mkdir(exist_ok=True)
        if any(kept.identity == archive.identity for kept in thin_archives(self._kept)):
            return
        older = [
            kept for kept in thin_archives(self._kept) if set(kept.references) <= set(archive.references)
        ]
        number = 1 + max((int(file.stem) for file in self._kept.glob("*.tar")), default=0)
        unfinished = self._kept / "unfinished"
        shutil.copyfile(archive.path, unfinished)
        unfinished.rename(self._kept / f"{number:06}.tar")
        for kept in older:
            kept.path.unlink()


def _has(node: Node, archive: Archive) -> bool:
    known = node.images()
    return all(known.get(name) == archive.identity for name in archive.references)
