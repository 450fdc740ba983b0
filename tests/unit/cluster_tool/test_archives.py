"""Image archives: what is read from them, and that what we write is what we read."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_kubernetes.archives import StaticImage, normalize_reference, read_archive, write_static_archive
from local_kubernetes.errors import LocalKubernetesError

BASE = StaticImage("localhost/base:1", {"/program": (b"base", 0o755)}, entrypoint=("/program",))
CODE = StaticImage("localhost/code:2", {"/code": (b"new", 0o644)}, entrypoint=("/program",))


def write_tar(path: Path, members: Mapping[str, object]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            text = json.dumps(content).encode()
            header = tarfile.TarInfo(name)
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text))
    return path


def test_a_complete_archive_lacks_nothing(tmp_path: Path) -> None:
    write_static_archive(BASE, tmp_path / "base.tar")
    archive = read_archive(tmp_path / "base.tar")
    assert archive.references == ("localhost/base:1",)
    assert archive.missing == ()


def test_a_thin_archive_lacks_exactly_the_layers_of_its_base(tmp_path: Path) -> None:
    write_static_archive(BASE, tmp_path / "base.tar")
    write_static_archive(CODE, tmp_path / "code.tar", base=BASE)
    with tarfile.open(tmp_path / "base.tar") as tar:
        carried = {name.replace("blobs/sha256/", "sha256:") for name in tar.getnames()}
    missing = read_archive(tmp_path / "code.tar").missing
    assert len(missing) == 1
    assert set(missing) <= carried


def test_identity_is_the_contents(tmp_path: Path) -> None:
    for name, image in (("one", BASE), ("same", BASE), ("other", CODE)):
        write_static_archive(image, tmp_path / name)
    one, same, other = (read_archive(tmp_path / name).identity for name in ("one", "same", "other"))
    assert one == same != other


def test_docker_archives_are_named_in_full(tmp_path: Path) -> None:
    listed = [{"Config": "sha.json", "RepoTags": ["worker:1"], "Layers": ["layer.tar"]}]
    path = write_tar(tmp_path / "docker.tar", {"manifest.json": listed})
    assert read_archive(path).references == ("docker.io/library/worker:1",)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"something": 1}, "neither an OCI nor a docker image archive"),
        ({"manifest.json": [{"Config": "sha.json", "RepoTags": None}]}, "have no names"),
        ({"oci-layout": {}, "index.json": {"manifests": [{"digest": "sha256:00"}]}}, "does not carry it"),
    ],
)
def test_what_is_not_an_image_archive_is_refused(
    tmp_path: Path, members: Mapping[str, object], message: str
) -> None:
    with pytest.raises(LocalKubernetesError, match=message):
        read_archive(write_tar(tmp_path / "archive.tar", members))


def test_a_short_name_in_an_oci_archive_is_refused_with_the_full_one(tmp_path: Path) -> None:
    write_static_archive(
        StaticImage("worker:1", {"/f": (b"", 0o644)}, entrypoint=("/f",)), tmp_path / "short.tar"
    )
    with pytest.raises(LocalKubernetesError, match=r"write the archive as docker\.io/library/worker:1"):
        read_archive(tmp_path / "short.tar")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(LocalKubernetesError, match="cannot be read as an image archive"):
        read_archive(tmp_path / "text")


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("pause", "docker.io/library/pause:latest"),
        ("team/worker:1", "docker.io/team/worker:1"),
        ("localhost/worker", "localhost/worker:latest"),
        ("registry:5000/worker", "registry:5000/worker:latest"),
        ("ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha256:00"),
    ],
)
def test_names_as_kubelets_write_them(short: str, full: str) -> None:
    assert normalize_reference(short) == full


@given(st.from_regex(r"([a-z]{1,5}\.io/)?([a-z]{1,5}/)?[a-z]{1,5}(:[a-z0-9]{1,4})?", fullmatch=True))
def test_a_full_name_stays_as_it_is(name: str) -> None:
    assert normalize_reference(normalize_reference(name)) == normalize_reference(name)
