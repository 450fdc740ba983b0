"""The demo from nothing to a trained model: what depends on what, and what is done side by side.

It knows the order of the steps; each step is a module of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepseek_demo import object_store, operator_release, place, resources_view, storage_setup
from deepseek_demo.commands import StepFailed
from deepseek_demo.console import Console
from deepseek_demo.corpus import Corpus, build_corpus
from deepseek_demo.images import Builder, BuiltImages
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store import Installation, ObjectStore
from deepseek_demo.place import Place
from deepseek_demo.settings import DemoSettings
from deepseek_demo.side_by_side import side_by_side
from deepseek_demo.watch import Run, watch
from local_kubernetes import packages

Object = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """What manifests/demo/ holds."""

    namespace: Object
    dataset: Object
    job: Object


@dataclass(frozen=True)
class Outcome:
    """What the demo leaves behind."""

    place: Place
    store: ObjectStore
    run: Run
    worker_image: str


@contextmanager
def run(settings: DemoSettings, console: Console) -> Iterator[Outcome]:
    """Everything, until the job has succeeded; S3 can be reached in the block. Raises StepFailed."""
    manifests = read_manifests(settings.root)
    where, built, text = _begin(settings, console)
    worker_image, installed = _install(settings, console, where, built)
    with where.reached(installed) as store:
        _fill_storage(console, where.kubectl, store, text, manifests.namespace)
        _forget_failed(console, where.kubectl, manifests)
        _apply(console, where.kubectl, manifests)
        finished = watch(where.kubectl, console, dataset=manifests.dataset, job=manifests.job)
        yield Outcome(where, store, finished, worker_image)


def read_manifests(root: Path) -> Manifests:
    """From the repository at `root`."""
    names = ("namespace", "dataset", "training-job")
    directory = root / "manifests" / "demo"
    return Manifests(*(yaml.safe_load((directory / f"{name}.yaml").read_text()) for name in names))


def _begin(settings: DemoSettings, console: Console) -> tuple[Place, BuiltImages, Corpus]:
    """What needs nothing else: the cluster, the images, the text."""
    with console.step("tools to build images with"):
        packages.ensure(packages.IMAGE_PROGRAMS)
    with side_by_side(console) as steps:
        where = steps.start(_enter, settings, console)
        built = steps.start(_build_images, settings, console)
        text = steps.start(_build_corpus, settings, console)
    return where.result(), built.result(), text.result()


def _enter(settings: DemoSettings, console: Console) -> Place:
    name = "local Kubernetes" if settings.registry is None else "current kubectl context"
    with console.step(name) as step:
        return place.enter(settings, say=step.say)


def _build_images(settings: DemoSettings, console: Console) -> BuiltImages:
    builder = Builder(settings.images)
    with console.step("build the images") as step:
        step.say(f"operator; log: {settings.images.log}")
        operator = builder.build_one("operator")
        step.say(f"worker, with torch and Ray; log: {settings.images.log}")
        return BuiltImages(operator=operator, worker=builder.build_one("worker"))


def _build_corpus(settings: DemoSettings, console: Console) -> Corpus:
    with console.step("text from Debian's documentation") as step:
        text = build_corpus(settings.cache / "corpus", say=step.say)
        sizes = (f"{size / 1e6:.1f} MB {name}" for name, size in sorted(text.bytes_by_language.items()))
        step.say(", ".join(sizes))
        return text


def _install(
    settings: DemoSettings, console: Console, where: Place, built: BuiltImages
) -> tuple[str, ObjectStore]:
    """The worker image's reference, and the S3 server; the operator runs."""
    with console.step("give the images to the nodes") as step:
        # Heavy images first: they are cheap for a node only while no pod runs there.
        step.say("worker: the first time, gigabytes are unpacked")
        worker = where.deliver(built.worker)
        step.say("operator")
        operator = where.deliver(built.operator)
    with side_by_side(console) as steps:
        store = steps.start(_install_store, settings, console, where)
        steps.start(_install_operator, settings, console, where, operator, worker)
    return worker, store.result()


def _install_store(settings: DemoSettings, console: Console, where: Place) -> ObjectStore:
    with console.step("S3 server (versitygw)") as step:
        archive = settings.cache / "versitygw.tar"
        step.say("building its image")
        object_store.write_image_archive(archive)
        image = where.deliver_archive(archive, object_store.IMAGE)
        archive.unlink()
        installation = Installation(image=image, volume=where.volume)
        return object_store.install_object_store(
            where.kubectl, installation, wait_from_here=where.reaches_services, say=step.say
        )


def _install_operator(
    settings: DemoSettings, console: Console, where: Place, image: str, worker: str
) -> None:
    with console.step("operator (Helm chart)") as step:
        step.say(f"waiting for the pods in {operator_release.NAMESPACE}")
        operator_release.install(
            where.kubectl,
            where.helm,
            chart=settings.root / "charts" / "deepseek-operator",
            operator_image=image,
            worker_image=worker,
            log=settings.cache / "helm.log",
        )


def _fill_storage(
    console: Console, kubectl: Kubectl, store: ObjectStore, text: Corpus, namespace: Object
) -> None:
    with console.step("bucket, user, credentials, text") as step:
        kubectl.apply([namespace])
        storage_setup.provide_bucket(store, kubectl, namespace=namespace["metadata"]["name"])
        step.say(f"uploading the text to s3://{storage_setup.BUCKET}/{storage_setup.RAW_PREFIX}")
        storage_setup.upload_corpus(store, text, progress=step.progress)


def _apply(console: Console, kubectl: Kubectl, manifests: Manifests) -> None:
    """What exists stays as it is, so that a changed manifest is refused: most of a spec is immutable."""
    with console.step("kubectl apply -f manifests/demo"):
        try:
            kubectl.apply([manifests.dataset, manifests.job])
        except StepFailed as error:
            remedy = "if manifests/demo changed since the last run, begin anew: make demo-down && make demo"
            raise StepFailed(f"{error}\n{remedy}", log=error.log) from error


def _forget_failed(console: Console, kubectl: Kubectl, manifests: Manifests) -> None:
    """A resource that failed in an earlier run makes room for a new one; what succeeded or goes on stays."""
    for resource in (manifests.job, manifests.dataset):
        kind, metadata = resource["kind"].lower(), resource["metadata"]
        found = kubectl.get(kind, metadata["name"], namespace=metadata["namespace"])
        if found is not None and resources_view.failure(found) is not None:
            with console.step(f"delete {kind} {metadata['name']}, which failed in an earlier run") as step:
                step.say("waiting for its pods to go")
                kubectl.run("delete", kind, metadata["name"], "--namespace", metadata["namespace"])
