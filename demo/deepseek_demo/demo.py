"""The demo from nothing to a model that answers: what depends on what, and what is done side by side.

It knows the order of the steps; each step is a module of its own.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepseek_demo import (
    conversation,
    object_store,
    operator_release,
    ownership,
    place,
    resources_view,
    storage_setup,
)
from deepseek_demo.commands import StepFailed
from deepseek_demo.console import Console
from deepseek_demo.conversation import Answer
from deepseek_demo.corpus import Corpus, build_corpus
from deepseek_demo.images import Builder, BuiltImages
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store import Installation, ObjectStore
from deepseek_demo.place import Place
from deepseek_demo.settings import DemoSettings
from deepseek_demo.side_by_side import side_by_side
from deepseek_demo.watch import Watch
from local_kubernetes import packages

Object = dict[str, Any]
SERVE_PORT = 8000
PROMPT = "The os.path module"
QUESTION = "What do you know about Comparisons?"


@dataclass(frozen=True)
class Manifests:
    """What manifests/demo/ holds."""

    namespace: Object
    dataset: Object
    job: Object
    service: Object
    chat_dataset: Object
    chat_job: Object

    @property
    def first(self) -> tuple[Object, ...]:
        """What is applied at once; the second job comes when the first one's model has been seen to serve."""
        return (self.dataset, self.chat_dataset, self.job, self.service)


@dataclass(frozen=True)
class Api:
    """Where a service answers, and the name of its model."""

    base_url: str
    model: str


@dataclass(frozen=True)
class Outcome:
    """What the demo leaves behind. `sample` is from revision `sampled`: the first, unless an earlier run has
    switched already. The answers are from the last."""

    place: Place
    store: ObjectStore
    job: Object
    chat_job: Object
    service: Object
    api: Api
    sampled: str
    sample: Answer
    by_curl: Answer
    by_client: Answer


@contextmanager
def run(settings: DemoSettings, console: Console) -> Iterator[Outcome]:
    """Everything, until the second model answers; S3 can be reached in the block. Raises StepFailed."""
    manifests = read_manifests(settings.root)
    where, built, text = _begin(settings, console)
    if settings.registry is not None:  # a cluster that others may use
        team = manifests.namespace["metadata"]["name"]
        ownership.require_own(where.kubectl, (team, object_store.NAME, operator_release.NAMESPACE))
    installed = _install(settings, console, where, built)
    with where.reached(installed) as store:
        _fill_storage(console, where.kubectl, store, text, manifests.namespace)
        _forget_failed(console, where.kubectl, manifests)
        yield _train_and_serve(console, where, store, manifests)


def read_manifests(root: Path) -> Manifests:
    """From the repository at `root`."""
    names = ("namespace", "dataset", "training-job", "service", "chat-dataset", "chat-job")
    directory = root / "manifests" / "demo"
    return Manifests(*(yaml.safe_load((directory / f"{name}.yaml").read_text()) for name in names))


def _train_and_serve(console: Console, where: Place, store: ObjectStore, manifests: Manifests) -> Outcome:
    """Train and serve; train on, and see the service switch."""
    watch = Watch(where.kubectl, console, namespace=manifests.namespace["metadata"]["name"])
    _follow_again(console, where.kubectl, manifests.service)
    _apply(console, where.kubectl, manifests.first)
    watch.prepared(manifests.dataset)
    job = watch.trained(manifests.job)
    earlier = _revision_of_an_earlier_run(where.kubectl, manifests.chat_job)
    service = watch.serving(manifests.service, revision=resources_view.revision(job), or_newer=earlier)
    sampled = resources_view.active_revision(service)
    with console.step("complete a text"), _reached(where, service) as api:
        sample = conversation.complete(api.base_url, model=api.model, prompt=PROMPT)
    _apply(console, where.kubectl, (manifests.chat_job,))
    watch.prepared(manifests.chat_dataset)
    chat_job = watch.trained(manifests.chat_job)
    service = watch.serving(manifests.service, revision=resources_view.revision(chat_job))
    with console.step("ask a question, by curl and by OpenAI's client"), _reached(where, service) as api:
        by_curl = conversation.chat_by_curl(api.base_url, model=api.model, question=QUESTION)
        by_client = conversation.chat(api.base_url, model=api.model, question=QUESTION)
        return Outcome(where, store, job, chat_job, service, api, sampled, sample, by_curl, by_client)


@contextmanager
def _reached(where: Place, service: Object) -> Iterator[Api]:
    """The API of the service as this machine reaches it."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    with where.address(name, SERVE_PORT, namespace=namespace) as address:
        yield Api(base_url=f"http://{address}/v1", model=service["status"]["active"]["servedModelName"])


def _revision_of_an_earlier_run(kubectl: Kubectl, job: Object) -> str:
    """Empty where the job does not exist, or has not succeeded yet."""
    metadata = job["metadata"]
    found = kubectl.get("deepseektrainingjob", metadata["name"], namespace=metadata["namespace"])
    return "" if found is None else resources_view.revision(found)


def _begin(settings: DemoSettings, console: Console) -> tuple[Place, BuiltImages, Corpus]:
    """What needs nothing else: the cluster, the images, the text."""
    place.require(settings)
    with console.step("tools to build images with"):
        packages.ensure(packages.IMAGE_PROGRAMS)
    with side_by_side(console) as steps:
        where = steps.start(_enter, settings, console)
        built = steps.start(_build_images, settings, console)
        text = steps.start(_build_corpus, settings, console)
        steps.start(_build_programs, settings, console)
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
        built = BuiltImages(operator=operator, worker=builder.build_one("worker"))
    with console.step("unpack the worker's image (the first time, gigabytes)"):
        place.prepare_images(settings, built)
    return built


def _build_programs(settings: DemoSettings, console: Console) -> None:
    with console.step("build the S3 server and helm"):
        place.prepare_programs(settings)


def _build_corpus(settings: DemoSettings, console: Console) -> Corpus:
    with console.step("text from Debian's documentation") as step:
        text = build_corpus(settings.cache / "corpus", say=step.say)
        sizes = (f"{size / 1e6:.1f} MB {name}" for name, size in sorted(text.bytes_by_language.items()))
        step.say(", ".join(sizes))
        return text


def _install(settings: DemoSettings, console: Console, where: Place, built: BuiltImages) -> ObjectStore:
    """The S3 server; the operator runs."""
    with console.step("give the images to the nodes") as step:
        # Heavy images first: they are cheap for a node only while no pod runs there.
        step.say("worker")
        worker = where.deliver(built.worker)
        step.say("operator")
        operator = where.deliver(built.operator)
    with side_by_side(console) as steps:
        store = steps.start(_install_store, settings, console, where)
        steps.start(_install_operator, settings, console, where, operator, worker)
    return store.result()


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


def _apply(console: Console, kubectl: Kubectl, resources: Sequence[Object]) -> None:
    """What exists stays as it is, so that a changed manifest is refused: most of a spec is immutable."""
    names = ", ".join(f"{item['kind']} {item['metadata']['name']}" for item in resources)
    with console.step(f"kubectl apply: {names}"):
        try:
            kubectl.apply(resources)
        except StepFailed as error:
            remedy = "if manifests/demo changed since the last run, begin anew: make demo-down && make demo"
            raise StepFailed(f"{error}\n{remedy}", log=error.log) from error


def _follow_again(console: Console, kubectl: Kubectl, service: Object) -> None:
    """The demo's service follows the model's name, also after a rollback, which names a revision."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    found = kubectl.get("deepseekmodelservice", name, namespace=namespace)
    wanted = service["spec"]["model"]
    added = found["spec"]["model"].keys() - wanted.keys() if found is not None else set()
    if not added:
        return
    with console.step(f"DeepSeekModelService {name}: without {', '.join(sorted(added))} of a rollback"):
        model = {**wanted, **dict.fromkeys(sorted(added))}
        patch = json.dumps({"spec": {"model": model}})
        kubectl.run(
            *("patch", "deepseekmodelservice", name, "--namespace", namespace),
            *("--type=merge", f"--patch={patch}"),
        )


def _forget_failed(console: Console, kubectl: Kubectl, manifests: Manifests) -> None:
    """A resource that failed in an earlier run makes room for a new one; what succeeded or goes on stays."""
    for resource in (manifests.chat_job, manifests.job, manifests.chat_dataset, manifests.dataset):
        kind, metadata = resource["kind"].lower(), resource["metadata"]
        found = kubectl.get(kind, metadata["name"], namespace=metadata["namespace"])
        if found is not None and resources_view.failure(found) is not None:
            with console.step(f"delete {kind} {metadata['name']}, which failed in an earlier run") as step:
                step.say("waiting for its pods to go")
                kubectl.run("delete", kind, metadata["name"], "--namespace", metadata["namespace"])
