"""OCI image archives that hold only what the receiver lacks: a layer it has is named, not carried.

It knows the OCI image layout, nothing about builders or clusters.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

_CONFIG = "application/vnd.oci.image.config.v1+json"
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer: its digest ("sha256:...") is its diff id; size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image whose layers are uncompressed. `config` is the OCI image configuration."""

    ref: str
    config: dict[str, Any]
    layers: tuple[Layer, ...]

    def config_bytes(self) -> bytes:
        """The configuration with the layers' diff ids."""
        rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]}
        return _json(self.config | {"rootfs": rootfs})

    def manifest_bytes(self) -> bytes:
        """The manifest that names the configuration and every layer."""
        config = self.config_bytes()
        layers = [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size} for layer in self.layers]
        return _json(
            {"schemaVersion": 2, "mediaType": _MANIFEST, "config": _blob(_CONFIG, config), "layers": layers}
        )


def image_from_inspection(ref: str, inspection: dict[str, Any]) -> Image:
    """The image as its store describes it. Raises ValueError where a stored layer is not a plain tar."""
    layers = tuple(
        Layer(layer["digest"], layer["size"]) for layer in json.loads(inspection["Manifest"])["layers"]
    )
    config = inspection["OCIv1"]
    if [layer.digest for layer in layers] != config["rootfs"]["diff_ids"]:
        raise ValueError(
            f"{ref}: its store keeps compressed layers; only uncompressed ones can be left out by digest"
        )
    return Image(ref, config, layers)


def with_top_layer(image: Image, content: bytes) -> Image:
    """The same image with its last layer's bytes replaced by `content`, a tar with the same files."""
    top = Layer(_digest(content), len(content))
    return replace(image, layers=(*image.layers[:-1], top))


def lies_on(candidates: Mapping[str, Sequence[str]], layers: Sequence[str]) -> str | None:
    """The candidate whose layers are the lowest, but not all, of an image's; of several the first by name."""
    below = [
        name for name, each in candidates.items() if len(each) < len(layers) and layers[: len(each)] == each
    ]
    return min(below, default=None)


def directory_layer(root: Path, directory: str) -> bytes:
    """A tar of `root/directory`: sorted, owned by root, with the times that compiled bytecode records."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        start = root / directory
        for path in [start, *sorted(start.rglob("*"))]:
            member = archive.gettarinfo(path, arcname=str(path.relative_to(root)))
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = int(member.mtime)
            if member.isfile():
                with path.open("rb") as source:
                    archive.addfile(member, source)
            else:
                archive.addfile(member)
    return buffer.getvalue()


def write_archive(
    path: Path,
    images: Sequence[Image],
    *,
    blobs: Path | None,
    extra: bytes | None = None,
    omit: Collection[str] = (),
) -> None:
    """An OCI archive of `images`. Layers are `extra` or files in `blobs` named by digest; `omit` stay out."""
    with tarfile.open(path, mode="w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _index(images))
        written = set(omit)
        if extra is not None:
            _add_blob(archive, extra)
            written.add(_digest(extra))
        for image in images:
            _add_blob(archive, image.config_bytes())
            _add_blob(archive, image.manifest_bytes())
            for layer in image.layers:
                if layer.digest not in written:
                    _add_file(archive, layer, blobs)
                    written.add(layer.digest)


def _index(images: Sequence[Image]) -> bytes:
    manifests = [
        _blob(_MANIFEST, image.manifest_bytes())
        | {
            "annotations": {
                "io.containerd.image.name": image.ref,
                "org.opencontainers.image.ref.name": image.ref,
            }
        }
        for image in images
    ]
    return _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests})


def _add_file(archive: tarfile.TarFile, layer: Layer, blobs: Path | None) -> None:
    name = layer.digest.removeprefix("sha256:")
    if blobs is None:
        raise ValueError(f"layer {layer.digest} is neither omitted nor given")
    with (blobs / name).open("rb") as source:
        member = tarfile.TarInfo(f"blobs/sha256/{name}")
        member.size = layer.size
        archive.addfile(member, source)


def _add_blob(archive: tarfile.TarFile, content: bytes) -> None:
    _add(archive, f"blobs/sha256/{_digest(content).removeprefix('sha256:')}", content)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _blob(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
