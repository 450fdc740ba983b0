"""Removes what the demo made. Caches that make the next run quick are named, and removed on request."""

import shutil
from pathlib import Path

from deepseek_demo import object_store, operator_release, ownership, place
from deepseek_demo.commands import run
from deepseek_demo.console import Console, Step
from deepseek_demo.demo import read_manifests
from deepseek_demo.images import Builder
from deepseek_demo.place import Place
from deepseek_demo.settings import LOCAL_CLUSTER, DemoSettings
from local_kubernetes import build, settings, slots


def down(demo: DemoSettings, console: Console, *, purge: bool) -> None:
    """The cluster and the S3 server's data; in a current context, the namespaces, the release and the kinds.

    `purge` also removes what `make demo` built and fetched, and then builds and fetches again.
    """
    if demo.registry is None:
        with console.step("remove the local Kubernetes and the data of its S3 server"):
            place.remove_local()
    else:
        where = place.find(demo)
        assert where is not None, "a current context is always found"
        _remove_from(where, demo, console)
        console.print(f"images stay in {demo.registry}")
    caches = [cache for cache in _caches(demo) if cache.exists()]
    if purge:
        with console.step("remove the caches"):
            _remove_images(demo)
            for cache in caches:
                shutil.rmtree(cache, ignore_errors=True)
    elif caches:
        kept = "\n".join(f"  {cache}" for cache in caches)
        console.print(f"kept, so that the next run is quick:\n{kept}\nremove: make demo-down PURGE=1")


def _caches(demo: DemoSettings) -> list[Path]:
    """The local Kubernetes' own belong to all clusters of this machine: they stay while there is another."""
    ours = [demo.cache / "images", demo.cache / "corpus"]
    clusters = slots.others(settings.ROOT / LOCAL_CLUSTER)
    return ours if clusters else [*ours, build.cache_dir(), settings.GOLDEN_DIR]


def _remove_from(where: Place, demo: DemoSettings, console: Console) -> None:
    namespace = read_manifests(demo.root).namespace["metadata"]["name"]
    with console.step(f"delete namespace {namespace}: the job, the dataset, their pods") as step:
        _say_kept(step, ownership.delete_own(where.kubectl, namespace), namespace)
    with console.step("uninstall the operator") as step:
        removed = operator_release.remove(where.kubectl, where.helm, log=demo.cache / "helm.log")
        _say_kept(step, removed, operator_release.NAMESPACE)
    with console.step("delete the S3 server and its data") as step:
        _say_kept(step, ownership.delete_own(where.kubectl, object_store.NAME), object_store.NAME)


def _say_kept(step: Step, deleted: bool, namespace: str) -> None:
    if not deleted:
        step.say(f"there is no namespace {namespace} that the demo made")


def _remove_images(demo: DemoSettings) -> None:
    """Through buildah: what it mounted or locked must be let go first."""
    if (demo.images.cache / "store").exists():
        run([*Builder(demo.images).buildah, "rmi", "--all", "--force"], log=demo.cache / "purge.log")
