"""Removes what the demo made. Caches that make the next run quick are named, and removed on request."""

import shutil
from pathlib import Path

from deepseek_demo import object_store, operator_release, place
from deepseek_demo.commands import run
from deepseek_demo.console import Console
from deepseek_demo.demo import read_manifests
from deepseek_demo.images import Builder
from deepseek_demo.place import Place
from deepseek_demo.settings import DemoSettings


def down(settings: DemoSettings, console: Console, *, purge: bool) -> None:
    """The cluster and the S3 server's data; in a current context, the namespaces, the release and the kinds.

    `purge` also removes built images and fetched packages, which `make demo` then makes again.
    """
    if settings.registry is None:
        with console.step("remove the local Kubernetes and the data of its S3 server"):
            place.remove_local()
    else:
        where = place.find(settings)
        assert where is not None, "a current context is always found"
        _remove_from(where, settings, console)
        console.print(f"images stay in {settings.registry}")
    caches = [settings.cache / name for name in ("images", "corpus")]
    if purge:
        with console.step("remove the caches"):
            _remove_images(settings)
            for cache in caches:
                shutil.rmtree(cache, ignore_errors=True)
    elif kept := [str(cache) for cache in caches if cache.exists()]:
        console.print(
            f"kept for the next run: {', '.join(kept)} (remove: python -m deepseek_demo down --purge)"
        )


def _remove_from(where: Place, settings: DemoSettings, console: Console) -> None:
    namespace = read_manifests(settings.root).namespace["metadata"]["name"]
    with console.step(f"delete namespace {namespace}: the job, the dataset, their pods"):
        where.kubectl.run("delete", "namespace", namespace, "--ignore-not-found")
    with console.step("uninstall the operator"):
        operator_release.remove(where.kubectl, where.helm, log=settings.cache / "helm.log")
    with console.step("delete the S3 server and its data"):
        where.kubectl.run("delete", "namespace", object_store.NAME, "--ignore-not-found")


def _remove_images(settings: DemoSettings) -> None:
    """Through buildah: what it mounted or locked must be let go first."""
    if Path(settings.images.cache / "store").exists():
        run([*Builder(settings.images).buildah, "rmi", "--all", "--force"], log=settings.cache / "purge.log")
