"""Reads the table of contents of an image archive, OCI or docker, and writes small OCI archives of static
programs.

It does not know where images are kept.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_kubernetes.errors import LocalKubernetesError

_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True)
class Archive:
    """`references`: full image names. `identity`: hex digest of what the archive says its images are.
    `missing`: digests of layers that it names and does not carry. `size`: bytes."""

    path: Path
    references: tuple[str, ...]
    identity: str
    missing: tuple[str, ...]
    size: int


def read_archive(path: Path) -> Archive:
    """Raises LocalKubernetesError for what is not an image archive with names in it."""
    try:
        with tarfile.open(path) as tar:
            names = {name.removeprefix("./") for name in tar.getnames()}
            if "index.json" in names and "oci-layout" in names:
                references, contents, missing = _read_oci(tar, names)
            elif "manifest.json" in names:
                references, contents, missing = _read_docker(tar)
            else:
                raise LocalKubernetesError(
                    f"{path}: neither an OCI nor a docker image archive; make one with "
                    "buildah push IMAGE oci-archive:FILE:NAME"
                )
    except (tarfile.TarError, OSError) as error:
        raise LocalKubernetesError(f"{path}: cannot be read as an image archive: {error}") from error
    if not references:
        raise LocalKubernetesError(
            f"{path}: its images have no names; name them when writing the archive "
            "(buildah push IMAGE oci-archive:FILE:NAME)"
        )
    identity = hashlib.sha256(json.dumps([sorted(references), contents]).encode()).hexdigest()
    return Archive(path, tuple(sorted(references)), identity, tuple(missing), path.stat().st_size)


def normalize_reference(name: str) -> str:
    """The full form of an image's name, as kubelet and containerd write it."""
    first, slash, _ = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def _read_oci(tar: tarfile.TarFile, names: set[str]) -> tuple[list[str], list[str], list[str]]:
    references, contents, missing = [], [], []
    for descriptor in _json_member(tar, "index.json")["manifests"]:
        annotations = descriptor.get("annotations", {})
        name = next((annotations[key] for key in _NAME_ANNOTATIONS if key in annotations), None)
        if name:
            references.append(_full_reference(name, tar))
        contents.append(str(descriptor["digest"]))
        for manifest in _manifests(tar, descriptor):
            layers = (str(layer["digest"]) for layer in manifest["layers"])
            missing += [digest for digest in layers if _blob(digest) not in names]
    return references, sorted(contents), missing


def _full_reference(name: str, tar: tarfile.TarFile) -> str:
    """containerd takes the names in OCI archives as they are, so that short ones would be lost to
    kubelets."""
    if normalize_reference(name) != name:
        raise LocalKubernetesError(
            f"{tar.name!s}: image name {name!r} is not a full one; write the archive as "
            f"{normalize_reference(name)}"
        )
    return name


def _manifests(tar: tarfile.TarFile, descriptor: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    document = _json_member(tar, _blob(descriptor["digest"]))
    if descriptor.get("mediaType") not in _INDEX_TYPES:
        return [document]
    return [manifest for inner in document["manifests"] for manifest in _manifests(tar, inner)]


def _read_docker(tar: tarfile.TarFile) -> tuple[list[str], list[str], list[str]]:
    listed: list[dict[str, Any]] = _json_member(tar, "manifest.json")
    references = [normalize_reference(tag) for image in listed for tag in image.get("RepoTags") or []]
    return references, sorted(str(image["Config"]) for image in listed), []


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json_member(tar: tarfile.TarFile, name: str) -> Any:
    for candidate in (name, f"./{name}"):
        try:
            file = tar.extractfile(candidate)
        except KeyError:
            continue
        if file is not None:
            return json.load(file)
    raise LocalKubernetesError(f"{tar.name!s}: names {name} and does not carry it")


@dataclass(frozen=True)
class StaticImage:
    """An image FROM scratch: `files` maps paths in the image to their content and mode bits."""

    reference: str
    files: Mapping[str, tuple[bytes, int]]
    entrypoint: tuple[str, ...]
    user: str = "65532:65532"


def write_static_archive(image: StaticImage, target: Path, *, base: StaticImage | None = None) -> None:
    """An OCI archive of the image. With a base, a thin one: the layer of `base` comes first, and is not
    carried."""
    new_layer = _layer(image.files)
    layers = [_layer(base.files), new_layer] if base else [new_layer]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(image.entrypoint), "User": image.user},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [_descriptor(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        }
    ).encode()
    named = {
        **_descriptor(manifest, "application/vnd.oci.image.manifest.v1+json"),
        "annotations": {_NAME_ANNOTATIONS[0]: image.reference},
    }
    members = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [named]}).encode(),
        **{_blob(_digest(content)): content for content in (config, manifest, new_layer)},
    }
    target.write_bytes(_tar({name: (content, 0o644) for name, content in members.items()}))


def _layer(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    return _tar({path.removeprefix("/"): file for path, file in files.items()})


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """The same bytes for the same files, so that digests are those of the content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (content, mode) in sorted(files.items()):
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), mode
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
