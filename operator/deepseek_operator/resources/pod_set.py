"""What training jobs, datasets and clusters of a service have in common when pods are built for them."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.pods import Coordinator, RunPolicy, Workers
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.settings import BuildSettings
from deepseek_workloads.contract.run_config import AnyRun, DatasetRun, ServingRun, Storage, TrainingRun

_DEFAULT_PORTS = {"http": 80, "https": 443}


class EndpointUnusable(Exception):
    """A run config that never changes names an S3 service that no pod could reach."""


@dataclass(frozen=True)
class PodSet:
    """One coordinator and its workers, with what they share."""

    resource: ResourceName
    image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...]
    credentials_secret: str | None  # its name
    workers: Workers
    coordinator: Coordinator
    run_policy: RunPolicy
    storage_ports: tuple[int, ...]  # of the S3 services that the run talks to, sorted
    settings: BuildSettings
    serves: bool = False  # its workers answer requests
    api_keys_secret: str | None = None  # its name


def resource_name(resource: DeepSeekTrainingJob | DeepSeekDataset) -> ResourceName:
    metadata = resource.metadata
    return ResourceName(resource.kind, metadata.namespace, metadata.name, metadata.uid)


def pod_set_of(
    resource: DeepSeekTrainingJob | DeepSeekDataset,
    *,
    run: AnyRun,
    settings: BuildSettings,
) -> PodSet:
    """`run` is the pinned run config: placement may change while suspended, the run may not. Raises
    EndpointUnusable."""
    spec = resource.spec
    return PodSet(
        resource=resource_name(resource),
        image=spec.image or settings.default_image(backend=_backend(run)),
        image_pull_policy=spec.image_pull_policy,
        image_pull_secrets=tuple(reference.name for reference in spec.image_pull_secrets),
        credentials_secret=spec.storage.secret_ref.name if spec.storage.secret_ref else None,
        workers=spec.workers,
        coordinator=spec.coordinator,
        run_policy=spec.run_policy,
        storage_ports=storage_ports(run, settings),
        settings=settings,
    )


def _backend(run: AnyRun) -> str:
    return run.backend if isinstance(run, TrainingRun) else "ray"


def storage_ports(run: AnyRun, settings: BuildSettings) -> tuple[int, ...]:
    """Of every S3 service that the run talks to, sorted."""
    ports = {_port(storage) for storage in _storages(run)} | set(settings.network.storage_ports)
    return tuple(sorted(ports))


def _storages(run: AnyRun) -> list[Storage]:
    if isinstance(run, DatasetRun):
        return [run.storage, run.raw_storage]
    if isinstance(run, ServingRun):
        baseline = run.check.baseline
        return [run.storage, *([baseline.storage] if baseline else [])]
    distillation = run.training.distillation
    models = [run.init_from, run.vision_init_from, distillation.teacher if distillation else None]
    read = [model for model in models if model is not None]
    return [run.storage, *read, *(source.storage for source in run.data.sources)]


def _port(storage: Storage) -> int:
    if storage.endpoint_url is None:
        return _DEFAULT_PORTS["https"]
    try:
        url = urlsplit(storage.endpoint_url)
        return url.port or _DEFAULT_PORTS[url.scheme]
    except (ValueError, KeyError) as error:
        raise EndpointUnusable(
            f"endpointUrl {storage.endpoint_url!r} of the run config, which an older operator has accepted: "
            "must be http:// or https:// with a port of 1 to 65535, or none; create the resource again with "
            "another"
        ) from error
