"""Which archives are kept for nodes that start over, and how images reach nodes."""

from pathlib import Path

import pytest

from local_kubernetes.archives import Archive, StaticImage, write_static_archive
from local_kubernetes.golden import GoldenStore
from local_kubernetes.images import Loader, thin_archives


class RecordingNode:
    """A node's image store that only remembers what it was given."""

    def __init__(self) -> None:
        self.imported: list[str] = []
        self._known: dict[str, str] = {}

    def images(self) -> dict[str, str]:
        return self._known

    def import_archive(self, archive: Archive) -> None:
        self.imported += archive.references
        self._known |= dict.fromkeys(archive.references, archive.identity)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def loader(tmp_path: Path, kept: Path) -> Loader:
    return Loader(GoldenStore(tmp_path / "golden"), kept, replace_store=lambda _: False)


def archive(folder: Path, reference: str, content: bytes = b"1") -> Path:
    path = folder / "archive.tar"
    write_static_archive(StaticImage(reference, {"/file": (content, 0o644)}, entrypoint=("/file",)), path)
    return path


def load(loader: Loader, path: Path, *nodes: RecordingNode) -> None:
    loader.load(path, nodes)  # type: ignore[arg-type]


def test_every_node_gets_a_light_archive_once(loader: Loader, tmp_path: Path) -> None:
    nodes = (RecordingNode(), RecordingNode())
    for _ in range(2):
        load(loader, archive(tmp_path, "localhost/a:1"), *nodes)
    assert [node.imported for node in nodes] == [["localhost/a:1"], ["localhost/a:1"]]


def test_a_changed_archive_of_the_same_name_is_loaded_and_replaces_the_kept_one(
    loader: Loader, kept: Path, tmp_path: Path
) -> None:
    node = RecordingNode()
    load(loader, archive(tmp_path, "localhost/a:1", b"old"), node)
    load(loader, archive(tmp_path, "localhost/a:1", b"new"), node)
    assert node.imported == ["localhost/a:1", "localhost/a:1"]
    assert [found.identity for found in thin_archives(kept)] == [node.images()["localhost/a:1"]]


def test_archives_are_kept_in_the_order_in_which_they_came(
    loader: Loader, kept: Path, tmp_path: Path
) -> None:
    for number in range(12):
        load(loader, archive(tmp_path, f"localhost/a:{number}"), RecordingNode())
    expected = [(f"localhost/a:{number}",) for number in range(12)]
    assert [found.references for found in thin_archives(kept)] == expected


def test_loading_without_running_nodes_is_remembered_for_those_that_start(
    loader: Loader, kept: Path, tmp_path: Path
) -> None:
    load(loader, archive(tmp_path, "localhost/a:1"))
    assert [found.references for found in thin_archives(kept)] == [("localhost/a:1",)]
