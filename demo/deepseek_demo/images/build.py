"""Builds the images with buildah in a store of their own, and only what is not there yet.

It knows the Dockerfile's stages and buildah's command line, nothing about clusters or registries.
"""

import fcntl
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deepseek_demo.commands import StepFailed, output, require, run, succeeds
from deepseek_demo.images.archive import lies_on
from deepseek_demo.images.base import DEBIAN_BASE, PUBLIC_BASE, bootstrap, registry_answers
from deepseek_demo.images.inputs import image_tag
from deepseek_demo.images.prune import Stored, superseded

# The stages below each image that hold what it depends on, heaviest first.
_WORKER = ("worker-heavy", "worker-dependencies")
_DEPENDENCIES = {
    "operator": ("operator-dependencies",),
    "worker": _WORKER,
    "worker-horovod": (*_WORKER, "worker-horovod-dependencies"),
}


@dataclass(frozen=True)
class ImageSettings:
    """`root` holds the Dockerfile; `cache` outlives builds; `requirements_cache` is uv's, shared."""

    root: Path
    cache: Path
    requirements_cache: Path
    certificates: Path | None = None
    base_image: str | None = None

    @property
    def horovod_cache(self) -> Path:
        """Horovod's wheels, which a checkout's own environment shares: minutes of compiling each."""
        return self.cache.parent / "horovod"

    @property
    def log(self) -> Path:
        """Where the output of all builds goes."""
        return self.cache / "build.log"


@dataclass(frozen=True)
class BuiltImage:
    """`ref` is keyed by what the image is made from, `dependencies`, the images below it, by content."""

    target: str
    ref: str
    dependencies: tuple[str, ...]


@dataclass(frozen=True)
class BuiltImages:
    """One release: the two images were built from the same tree."""

    operator: BuiltImage
    worker: BuiltImage


class Builder:
    """The images in one buildah store. Raises StepFailed with the build log."""

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings
        store = settings.cache / "store"
        self.buildah = ["buildah", "--root", str(store), "--runroot", "/run/deepseek-images"]

    def build(self) -> BuiltImages:
        """Both images; seconds when nothing or only our code changed."""
        return BuiltImages(operator=self.build_one("operator"), worker=self.build_one("worker"))

    def build_one(self, target: str) -> BuiltImage:
        """`target` is one of TARGETS or OPTIONAL_TARGETS."""
        require(["buildah"], purpose="building images")
        self.settings.cache.mkdir(parents=True, exist_ok=True)
        with self._locked():
            run([*self.buildah, "rm", "--all"], log=self.settings.log)  # what an interrupted build left
            base = self._base_image()
            ref = f"localhost/deepseek-{target}:{image_tag(self.settings.root, target, base_image=base)}"
            dependencies = self._below(target, ref) if self._has(ref) else None
            if dependencies is None:
                dependencies = self._build(target, base, ref)
                self._prune(in_use=(base, ref, *dependencies))
        return BuiltImage(target, ref, dependencies)

    def inspect(self, ref: str) -> dict[str, Any]:
        """The image as buildah describes it: `OCIv1` is its config, `Manifest` its manifest as text."""
        described: dict[str, Any] = json.loads(output([*self.buildah, "inspect", "--type", "image", ref]))
        return described

    def import_archive(self, path: Path, ref: str) -> None:
        """Take the image out of an OCI archive that holds one, and name it `ref`."""
        identity = output([*self.buildah, "pull", "--quiet", f"oci-archive:{path}"]).strip()
        run([*self.buildah, "tag", identity, ref], log=self.settings.log)

    @contextmanager
    def mounted(self, ref: str) -> Iterator[Path]:
        """The image's file system, for reading."""
        with self._locked():
            container = output([*self.buildah, "from", "--pull-never", ref]).strip()
            try:
                yield Path(output([*self.buildah, "mount", container]).strip())
            finally:
                output([*self.buildah, "rm", container])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two builds at once would each make the heavy layers."""
        with (self.settings.cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _base_image(self) -> str:
        """The configured base, else one that this machine can reach, made here if need be."""
        if self.settings.base_image:
            return self.settings.base_image
        if self._has(DEBIAN_BASE):
            return DEBIAN_BASE
        if registry_answers():
            return PUBLIC_BASE
        bootstrap(self.buildah, work=self.settings.cache, log=self.settings.log)
        return DEBIAN_BASE

    def _build(self, target: str, base: str, ref: str) -> tuple[str, ...]:
        """Build the image and, before it, the images of the stages below, which are named by content."""
        for stage in _DEPENDENCIES[target]:
            unnamed = f"localhost/deepseek-{stage}:new"
            self._build_stage(stage, base, unnamed)
            named = f"localhost/deepseek-{stage}:{self.inspect(unnamed)['FromImageID'][:12]}"
            run([*self.buildah, "tag", unnamed, named], log=self.settings.log)
            run([*self.buildah, "rmi", unnamed], log=self.settings.log)
        self._build_stage(target, base, ref)
        if (found := self._below(target, ref)) is None:
            raise StepFailed(
                f"{ref} does not lie on the stages that were built for it", log=self.settings.log
            )
        return found

    def _below(self, target: str, image: str) -> tuple[str, ...] | None:
        """The images of the stages that `image` lies on; None where one is not there any more."""
        names = [name for stored in self._images() for name in stored.names]
        layers, found = self._layers(image), []
        for stage in _DEPENDENCIES[target]:
            mine = [name for name in names if name.startswith(f"localhost/deepseek-{stage}:")]
            if (below := lies_on({name: self._layers(name) for name in mine}, layers)) is None:
                return None
            found.append(below)
        return tuple(found)

    def _layers(self, ref: str) -> list[str]:
        layers: list[str] = self.inspect(ref)["OCIv1"]["rootfs"]["diff_ids"]
        return layers

    def _build_stage(self, stage: str, base: str, ref: str) -> None:
        settings = self.settings
        volumes = {settings.requirements_cache: "/var/cache/uv", settings.horovod_cache: "/var/cache/horovod"}
        for folder in volumes:
            folder.mkdir(parents=True, exist_ok=True)
        certificates = settings.certificates
        secret = [] if certificates is None else ["--secret", f"id=ca-bundle,src={certificates}"]
        # chroot isolation needs no container runtime; volumes reuse what the host has downloaded or built.
        how = ["--isolation", "chroot", "--layers", "--format", "oci", *secret]
        volume = [f"--volume={folder}:{inside}" for folder, inside in volumes.items()]
        what = ["--build-arg", f"BASE_IMAGE={base}", "--target", stage, "--tag", ref, str(settings.root)]
        run([*self.buildah, "build", *how, *volume, *what], log=settings.log)

    def _prune(self, *, in_use: Collection[str]) -> None:
        if names := superseded(self._images(), in_use=in_use, now=time.time()):
            run([*self.buildah, "rmi", *names], log=self.settings.log)

    def _images(self) -> list[Stored]:
        """All that have a name."""
        return [
            Stored(tuple(image["names"]), datetime.fromisoformat(image["createdatraw"]).timestamp())
            for image in json.loads(output([*self.buildah, "images", "--json"])) or []
            if image["names"]
        ]

    def _has(self, ref: str) -> bool:
        return succeeds([*self.buildah, "inspect", "--type", "image", ref])
