"""Builds the cluster's programs from their Go modules, once for each content of a module, and finds them
again.

The modules lie in ../binaries; a binary's cache key is the digest of its module's files and of the build
command."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local_kubernetes.commands import run
from local_kubernetes.errors import LocalKubernetesError
from local_kubernetes.slots import locked

MODULES = Path(__file__).parent.parent / "binaries"
KUBERNETES_VERSION = "v1.36.3"
_KEPT_VERSIONS = 3


@dataclass(frozen=True)
class Recipe:
    """A main package, the folder of the Go module to build it in, and what the linker stamps into it."""

    module: str
    package: str
    stamp: str = ""


RECIPES = {
    "kubernetes": Recipe(
        "kubernetes", "./cmd/kubernetes", f"k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
    ),
    "pause": Recipe("kubernetes", "./cmd/pause"),
    "probe": Recipe("kubernetes", "./cmd/probe"),
    "coredns": Recipe("coredns", "."),
    "helm": Recipe("helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4/internal/version.version=v4.3.1"),
    "kwok": Recipe("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "versitygw": Recipe("versitygw", "github.com/versity/versitygw/cmd/versitygw", "main.Version=v1.8.0"),
}


def binary(name: str) -> Path:
    """The built program, from the cache or built now. Raises LocalKubernetesError."""
    if name not in RECIPES:
        raise LocalKubernetesError(f"no program {name!r}: there are {', '.join(sorted(RECIPES))}")
    recipe = RECIPES[name]
    cache = cache_dir()
    target = cache / f"{name}-{content_key(recipe, MODULES)}"
    if target.exists():
        os.utime(target)
        return target
    with locked(cache / f"{name}.lock"):
        if not target.exists():
            _build(recipe, target)
            _prune(cache, name)
    return target


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "deepseek-operator" / "binaries"


def content_key(recipe: Recipe, modules: Path) -> str:
    """Twelve hex digits that change with whatever can change the binary."""
    digest = hashlib.sha256(repr(_command(recipe, Path("output"))).encode())
    for path in _sources(modules / recipe.module, package=recipe.package):
        digest.update(f"\0{path.relative_to(modules)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(module: Path, *, package: str) -> Iterable[Path]:
    """All of the module but its tests and its other commands."""
    other_commands = {
        folder for folder in module.glob("cmd/*") if folder != module / package.removeprefix("./")
    }
    for path in sorted(module.rglob("*")):
        is_source = path.suffix == ".go" and not path.name.endswith("_test.go")
        if (is_source or path.name in ("go.mod", "go.sum")) and not other_commands.intersection(path.parents):
            yield path


def _command(recipe: Recipe, output: Path) -> list[str]:
    stamp = f" -X {recipe.stamp}" if recipe.stamp else ""
    flags = ["-trimpath", "-buildvcs=false", f"-ldflags=-s -w{stamp}"]
    return ["go", "build", *flags, "-o", str(output), recipe.package]


def _build(recipe: Recipe, target: Path) -> None:
    if shutil.which("go") is None:
        raise LocalKubernetesError(
            "go: not found; install Go 1.26 or newer (https://go.dev/dl) and put it on the PATH"
        )
    unfinished = target.with_suffix(".unfinished")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    run(["nice", *_command(recipe, unfinished)], cwd=MODULES / recipe.module, env=environment)
    unfinished.rename(target)


def _prune(cache: Path, name: str) -> None:
    versions = sorted(cache.glob(f"{name}-" + "[0-9a-f]" * 12), key=lambda path: path.stat().st_mtime)
    for old in versions[:-_KEPT_VERSIONS]:
        old.unlink()
