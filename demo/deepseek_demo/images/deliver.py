"""Gives built images to those who run them: a cluster that imports archives, or an image registry.

It knows what each already has, so that a change of our code moves one thin layer.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from deepseek_demo.commands import run
from deepseek_demo.images.archive import (
    Image,
    directory_layer,
    image_from_inspection,
    with_top_layer,
    write_archive,
)
from deepseek_demo.images.build import Builder, BuiltImage

_CODE = "opt/deepseek"  # where the Dockerfile puts our code, and nothing else


class ImageTarget(Protocol):
    """A cluster whose nodes import image archives."""

    def has_image(self, ref: str) -> bool:
        """Whether every node, also a later one, has it."""
        ...

    def load_image_archive(self, path: Path) -> None:
        """Import an OCI archive; layers that are present may be missing from it."""
        ...


def load(target: ImageTarget, built: BuiltImage, builder: Builder) -> None:
    """Import the image and what it depends on, each unless the target has it."""
    if target.has_image(built.ref):
        return
    load_dependencies(target, built, builder)
    with tempfile.TemporaryDirectory(dir=builder.settings.cache) as directory:
        _load_code(target, _image(builder, built.ref), builder, work=Path(directory))


def load_dependencies(target: ImageTarget, built: BuiltImage, builder: Builder) -> None:
    """Import what lies below our code, which is heavy, unless the target has it."""
    missing = [ref for ref in built.dependencies if not target.has_image(ref)]
    if not missing:
        return
    images = [_image(builder, ref) for ref in missing]
    below = [_image(builder, ref) for ref in built.dependencies if ref not in missing]
    omit = {layer.digest for image in below for layer in image.layers}
    with tempfile.TemporaryDirectory(dir=builder.settings.cache) as directory:
        _load_dependencies(target, images, builder, work=Path(directory), omit=omit)


def push(ref: str, builder: Builder, *, registry: str) -> str:
    """Push a local image to `registry` (host[:port]/path) and return the reference pods pull it by.

    It has the digest of what was pushed: a tag can be made to name something else later.
    """
    remote = f"{registry.rstrip('/')}/{ref.removeprefix('localhost/')}"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "digest"
        command = [*builder.buildah, "push", "--digestfile", str(file), ref, f"docker://{remote}"]
        run(command, log=builder.settings.log)
        digest = file.read_text().strip()
    repository, _, _ = remote.rpartition(":")
    return f"{repository}@{digest}"


def _load_dependencies(
    target: ImageTarget, images: Sequence[Image], builder: Builder, *, work: Path, omit: set[str]
) -> None:
    """The images lie on one another, so the last one's layers are all there are."""
    blobs, archive = work / "blobs", work / "dependencies.tar"
    # Uncompressed: packing five gigabytes costs minutes, and the nodes only unpack them again.
    run(
        [
            *builder.buildah,
            "push",
            "--disable-compression",
            "--format",
            "oci",
            images[-1].ref,
            f"dir:{blobs}",
        ],
        log=builder.settings.log,
    )
    write_archive(archive, images, blobs=blobs, omit=omit)
    for blob in blobs.iterdir():
        blob.unlink()
    target.load_image_archive(archive)
    archive.unlink()


def _load_code(target: ImageTarget, image: Image, builder: Builder, *, work: Path) -> None:
    """The code is the last layer; packing it from the files spares an export of all that lies below."""
    with builder.mounted(image.ref) as root:
        layer = directory_layer(root, _CODE)
    image = with_top_layer(image, layer)
    archive = work / f"{image.ref.rpartition('/')[2].replace(':', '-')}.tar"
    write_archive(archive, [image], blobs=None, extra=layer, omit={below.digest for below in image.layers})
    target.load_image_archive(archive)


def _image(builder: Builder, ref: str) -> Image:
    return image_from_inspection(ref, builder.inspect(ref))
