"""Where the demo runs: a local Kubernetes, or the current kubectl context; how the nodes of each get images.

Nothing here knows what the demo does there.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepseek_demo import images, object_store
from deepseek_demo.commands import StepFailed, output
from deepseek_demo.images import Builder, BuiltImage, BuiltImages
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store import ObjectStore
from deepseek_demo.settings import LOCAL_CLUSTER, DemoSettings
from local_kubernetes import Cluster, Settings, attach, binary, image_store, up
from local_kubernetes import down as remove_cluster


class Place(Protocol):
    """A Kubernetes that the demo may use."""

    @property
    def kubectl(self) -> Kubectl:
        """kubectl against it."""
        ...

    @property
    def helm(self) -> tuple[str, ...]:
        """The command that starts helm against it."""
        ...

    @property
    def volume(self) -> Path | None:
        """A folder that every node sees, for the S3 server's data; None: the default StorageClass."""
        ...

    @property
    def hint(self) -> str:
        """What a user types to point kubectl at it; empty where it is already."""
        ...

    @property
    def reaches_services(self) -> bool:
        """Whether this machine reaches cluster IPs."""
        ...

    def deliver(self, built: BuiltImage) -> str:
        """Give the nodes the image and return the reference that pods name it by."""
        ...

    def deliver_archive(self, path: Path, ref: str) -> str:
        """The same for an OCI archive that holds an image named `ref`."""
        ...

    def reached(self, store: ObjectStore) -> AbstractContextManager[ObjectStore]:
        """The S3 server as this machine reaches it, while the context lasts."""
        ...

    def address(self, service: str, port: int, *, namespace: str) -> AbstractContextManager[str]:
        """host:port of a Service as this machine reaches it, while the context lasts."""
        ...


@dataclass(frozen=True)
class LocalPlace:
    """A local Kubernetes: archives go to its nodes, and this machine reaches its Services."""

    cluster: Cluster
    builder: Builder
    log: Path
    reaches_services: bool = True

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl((str(self.cluster.kubectl),), self.log)

    @property
    def helm(self) -> tuple[str, ...]:
        return (str(self.cluster.helm),)

    @property
    def volume(self) -> Path | None:
        return self.cluster.volumes_dir / "object-store"

    @property
    def hint(self) -> str:
        return f"export PATH={self.cluster.kubectl.parent}:$PATH"

    def deliver(self, built: BuiltImage) -> str:
        images.load(self.cluster, built, self.builder)
        return built.ref

    def deliver_archive(self, path: Path, ref: str) -> str:
        self.cluster.load_image_archive(path)
        return ref

    @contextmanager
    def reached(self, store: ObjectStore) -> Iterator[ObjectStore]:
        yield store

    @contextmanager
    def address(self, service: str, port: int, *, namespace: str) -> Iterator[str]:
        found = self.kubectl.get("service", service, namespace=namespace)
        if found is None:
            raise StepFailed(f"there is no Service {service} in namespace {namespace}")
        yield f"{found['spec']['clusterIP']}:{port}"


@dataclass(frozen=True)
class CurrentPlace:
    """The current kubectl context: images go through a registry, Services through port-forwards."""

    context: str
    registry: str
    builder: Builder
    log: Path
    hint: str = ""
    volume: Path | None = None
    reaches_services: bool = False

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(("kubectl", "--context", self.context), self.log)

    @property
    def helm(self) -> tuple[str, ...]:
        return (_helm(), "--kube-context", self.context)

    def deliver(self, built: BuiltImage) -> str:
        return images.push(built.ref, self.builder, registry=self.registry)

    def deliver_archive(self, path: Path, ref: str) -> str:
        self.builder.import_archive(path, ref)
        return images.push(ref, self.builder, registry=self.registry)

    @contextmanager
    def reached(self, store: ObjectStore) -> Iterator[ObjectStore]:
        service = f"service/{object_store.NAME}"
        with self.kubectl.forwarded(service, object_store.PORT, namespace=object_store.NAME) as address:
            yield object_store.reached_at(store, address)

    @contextmanager
    def address(self, service: str, port: int, *, namespace: str) -> Iterator[str]:
        with self.kubectl.forwarded(f"service/{service}", port, namespace=namespace) as address:
            yield address


def require(settings: DemoSettings) -> None:
    """Before anything is built for it. Raises StepFailed when there is no place to enter."""
    if settings.registry is not None:
        _current_context()


def prepare_programs(settings: DemoSettings) -> None:
    """Build what installs into the place: minutes where they were never built, and not needed before it is
    there."""
    binary("versitygw")
    if settings.registry is None:
        binary("helm")
    else:
        _helm()


def prepare_images(settings: DemoSettings, built: BuiltImages) -> None:
    """Unpack the heavy layers while the place is not there yet: nodes of a local one start from them."""
    if settings.registry is None:
        images.load_dependencies(image_store(), built.worker, Builder(settings.images))


def enter(settings: DemoSettings, *, say: Callable[[str], None] = lambda _: None) -> Place:
    """The place, booted if it is a local one. Raises StepFailed or LocalKubernetesError."""
    if settings.registry is None:
        cluster = up(Settings(name=LOCAL_CLUSTER), report=say)
        return LocalPlace(cluster, Builder(settings.images), settings.kubectl_log)
    return _current(settings, settings.registry)


def find(settings: DemoSettings) -> Place | None:
    """The place if it is there: nothing is booted."""
    if settings.registry is not None:
        return _current(settings, settings.registry)
    cluster = attach(Settings(name=LOCAL_CLUSTER).state_dir)
    if cluster is None:
        return None
    return LocalPlace(cluster, Builder(settings.images), settings.kubectl_log)


def remove_local() -> Path:
    """Remove the local Kubernetes and the data of the S3 server, and return the folder they were in."""
    settings = Settings(name=LOCAL_CLUSTER)
    remove_cluster(settings.state_dir)
    volumes = settings.state_dir.parent / "volumes" / settings.name
    shutil.rmtree(volumes, ignore_errors=True)
    return volumes


def _helm() -> str:
    """The user's own, or one that is built now."""
    return shutil.which("helm") or str(binary("helm"))


def _current(settings: DemoSettings, registry: str) -> Place:
    return CurrentPlace(_current_context(), registry, Builder(settings.images), settings.kubectl_log)


def _current_context() -> str:
    try:
        return output(["kubectl", "config", "current-context"]).strip()
    except StepFailed as error:
        raise StepFailed(
            "CLUSTER=current, and kubectl has no current context: choose one with "
            f"`kubectl config use-context` ({error})"
        ) from error
