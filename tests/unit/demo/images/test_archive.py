"""An archive names every layer of its images, and carries those that the receiver lacks."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_demo.images.archive import (
    Image,
    Layer,
    directory_layer,
    image_from_inspection,
    lies_on,
    with_top_layer,
    write_archive,
)
from local_kubernetes.archives import read_archive


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layers(*contents: bytes) -> tuple[Layer, ...]:
    return tuple(Layer(digest(content), len(content)) for content in contents)


def image(*contents: bytes, ref: str = "localhost/x:1") -> Image:
    config = {"architecture": "amd64", "os": "linux", "config": {"User": "1000"}}
    return Image(ref, config, layers(*contents))


def blobs_below(directory: Path, *contents: bytes) -> Path:
    for content in contents:
        (directory / digest(content).removeprefix("sha256:")).write_bytes(content)
    return directory


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def blob(found: dict[str, bytes], name: str) -> Any:
    return json.loads(found[f"blobs/{name.replace(':', '/')}"])


def test_a_complete_archive_is_a_valid_layout(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    write_archive(tmp_path / "a.tar", [image(b"base", b"code")], blobs=blobs_below(blobs, b"base", b"code"))
    found = members(tmp_path / "a.tar")
    manifest = blob(found, json.loads(found["index.json"])["manifests"][0]["digest"])
    assert [layer["digest"] for layer in manifest["layers"]] == [digest(b"base"), digest(b"code")]
    assert blob(found, manifest["config"]["digest"])["rootfs"]["diff_ids"] == [
        digest(b"base"),
        digest(b"code"),
    ]
    for name, content in found.items():
        if name.startswith("blobs/sha256/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def test_a_thin_archive_names_the_layers_it_does_not_carry(tmp_path: Path) -> None:
    thin = with_top_layer(image(b"base", b"old code"), b"new code")
    write_archive(tmp_path / "a.tar", [thin], blobs=None, extra=b"new code", omit={digest(b"base")})
    read = read_archive(tmp_path / "a.tar")
    assert read.references == ("localhost/x:1",)
    assert read.missing == (digest(b"base"),)


def test_a_layer_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither omitted nor given"):
        write_archive(tmp_path / "a.tar", [image(b"base")], blobs=None)


@given(
    below=st.lists(st.binary(min_size=1, max_size=8), unique=True, min_size=1, max_size=5),
    data=st.data(),
)
def test_every_layer_is_carried_once_unless_it_is_omitted(
    tmp_path_factory: pytest.TempPathFactory, below: list[bytes], data: st.DataObject
) -> None:
    omitted = data.draw(st.sets(st.sampled_from(below)))
    directory = tmp_path_factory.mktemp("blobs")
    images = [image(*below[: count + 1], ref=f"localhost/x:{count}") for count in range(len(below))]
    archive = tmp_path_factory.mktemp("archive") / "a.tar"
    omit = {digest(content) for content in omitted}
    write_archive(archive, images, blobs=blobs_below(directory, *below), omit=omit)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    carried = [name for name in names if f"sha256:{name.rpartition('/')[2]}" in {digest(b) for b in below}]
    expected = {f"blobs/sha256/{hashlib.sha256(b).hexdigest()}" for b in below if b not in omitted}
    assert len(carried) == len(set(carried))
    assert set(carried) == expected


@pytest.mark.parametrize(
    ("candidates", "found"),
    [
        ({"heavy:1": ["base", "torch"]}, "heavy:1"),
        ({"heavy:1": ["base", "other torch"]}, None),
        ({"heavy:1": ["base", "torch", "code"]}, None),
        ({"heavy:2": ["base", "torch"], "heavy:1": ["base", "torch"]}, "heavy:1"),
        ({}, None),
    ],
    ids=["its own", "of another build", "nothing above it", "twice", "none"],
)
def test_an_image_lies_on_what_its_lowest_layers_are(
    candidates: dict[str, list[str]], found: str | None
) -> None:
    assert lies_on(candidates, ["base", "torch", "code"]) == found


def test_the_same_files_make_the_same_layer_and_keep_their_times(tmp_path: Path) -> None:
    for root in ("a", "b"):
        code = tmp_path / root / "opt/deepseek/package"
        code.mkdir(parents=True)
        (code / "module.py").write_text("x = 1")
        for path in (code / "module.py", code, code.parent):
            os.utime(path, (1_700_000_000.25, 1_700_000_000.25))
    one, other = (directory_layer(tmp_path / root, "opt/deepseek") for root in ("a", "b"))
    assert one == other
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        member = archive.getmember("opt/deepseek/package/module.py")
        assert (member.mtime, member.uid, member.uname) == (1_700_000_000, 0, "")


def test_compressed_layers_are_refused() -> None:
    inspection = {
        "Manifest": json.dumps({"layers": [{"digest": "sha256:zipped", "size": 3}]}),
        "OCIv1": {"rootfs": {"diff_ids": ["sha256:plain"]}},
    }
    with pytest.raises(ValueError, match="localhost/x:1"):
        image_from_inspection("localhost/x:1", inspection)
