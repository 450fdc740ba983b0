"""What training jobs, datasets and clusters of a service have in common when pods are built for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from deepseek_operator.api.dataset import DatasetSpec, DeepSeekDataset
from deepseek_operator.api.monitoring import Monitoring
from deepseek_operator.api.pods import Coordinator, RunPolicy, Workers
from deepseek_operator.api.training_job import DeepSeekTrainingJob, TrainingJobSpec
from deepseek_operator.resources.claims import Claim, claims_among
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.resources.storages import storages_of
from deepseek_workloads.contract.claim_uri import claim_of
from deepseek_workloads.contract.environment import MLFLOW_CREDENTIALS, OPENAI_API_KEY, WANDB_API_KEY
from deepseek_workloads.contract.run_config import AnyRun, DatasetRun, ServingRun, TrainingRun
from deepseek_workloads.plan.replicas import replica_limit

_DEFAULT_PORTS = {"http": 80, "https": 443}


class EndpointUnusable(Exception):
    """A run config that never changes names an S3 service that no pod could reach."""


@dataclass(frozen=True)
class SecretKey:
    """A key of a Secret, and the environment variable of the same name."""

    name: str
    secret: str
    optional: bool


@dataclass(frozen=True)
class PodSet:
    """One coordinator and its workers, with what they share."""

    resource: ResourceName
    run_config_map: str  # its name
    image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...]
    credentials_secret: str | None  # its name
    storage_schemes: tuple[str, ...]  # of the storages that the run talks to, its own first
    workers: Workers
    coordinator: Coordinator
    run_policy: RunPolicy
    storage_ports: tuple[int, ...]  # of the services outside that the run talks to, sorted
    settings: BuildSettings
    claims: tuple[Claim, ...] = ()  # that the run reads or writes, mounted into each of its pods
    serves: bool = False  # its workers answer requests
    api_keys_secret: str | None = None  # its name
    service_keys: tuple[SecretKey, ...] = ()  # of experiment trackers and served models, for the workers
    replica_bytes: int = 0  # of checkpoints that a worker may keep in memory; 0: none
    cache_bytes: int = 0  # of blocks that a worker keeps on its node's disk; 0: none
    nodes: int | None = None  # of a training job: worker pods of the run


def resource_name(resource: DeepSeekTrainingJob | DeepSeekDataset) -> ResourceName:
    metadata = resource.metadata
    return ResourceName(resource.kind, metadata.namespace, metadata.name, metadata.uid)


def pod_set_of(
    resource: DeepSeekTrainingJob | DeepSeekDataset,
    *,
    run: AnyRun,
    settings: BuildSettings,
    run_config_map: str | None = None,
) -> PodSet:
    """`run` is the pinned run config: placement may change while suspended, the run may not, but for its
    number of nodes; then it lies in a `run_config_map` of its own. Raises EndpointUnusable."""
    spec, name = resource.spec, resource_name(resource)
    return PodSet(
        resource=name,
        run_config_map=run_config_map or name.run_config_map,
        image=spec.image or settings.default_image(backend=_backend(run)),
        image_pull_policy=spec.image_pull_policy,
        image_pull_secrets=tuple(reference.name for reference in spec.image_pull_secrets),
        credentials_secret=spec.storage.secret_ref.name if spec.storage.secret_ref else None,
        workers=spec.workers,
        coordinator=spec.coordinator,
        run_policy=spec.run_policy,
        storage_schemes=storage_schemes(run),
        storage_ports=storage_ports(run, settings),
        claims=claims_of(run),
        settings=settings,
        service_keys=tuple(_service_keys(spec)),
        replica_bytes=replica_limit(run) if isinstance(run, TrainingRun) else 0,
        cache_bytes=(run.data.cache_bytes or 0) if isinstance(run, TrainingRun) else 0,
        nodes=run.workers.num_nodes if isinstance(run, TrainingRun) else None,
    )


def _service_keys(spec: TrainingJobSpec | DatasetSpec) -> Iterator[SecretKey]:
    if isinstance(spec, TrainingJobSpec):
        yield from _tracker_keys(spec.monitoring)
        return
    stages = [stage.back_translate for stage in spec.pipeline or () if stage.back_translate is not None]
    for secret in {stage.secret_ref.name for stage in stages if stage.secret_ref is not None}:
        yield SecretKey(OPENAI_API_KEY, secret, optional=False)  # one: validation refuses others


def _tracker_keys(monitoring: Monitoring) -> Iterator[SecretKey]:
    if monitoring.mlflow is not None and monitoring.mlflow.secret_ref is not None:
        for name in MLFLOW_CREDENTIALS:
            yield SecretKey(name, monitoring.mlflow.secret_ref.name, optional=True)
    if monitoring.wandb is not None:
        yield SecretKey(WANDB_API_KEY, monitoring.wandb.secret_ref.name, optional=False)


def _backend(run: AnyRun) -> str:
    return run.backend if isinstance(run, TrainingRun) else "ray"


def storage_schemes(run: AnyRun) -> tuple[str, ...]:
    """Of every storage that the run talks to, its own first, the others sorted. Each kind knows its user in
    its own way."""
    own = urlsplit(run.storage.uri).scheme
    return (own, *sorted({urlsplit(storage.uri).scheme for storage in storages_of(run)} - {own}))


def storage_ports(run: AnyRun, settings: BuildSettings) -> tuple[int, ...]:
    """Of every S3 service, experiment tracker and served model that the run talks to, sorted."""
    remote = [storage for storage in storages_of(run) if claim_of(storage.uri) is None]
    ports = {_port(storage.endpoint_url) for storage in remote} | set(settings.network.storage_ports)
    return tuple(sorted(ports | {_port(url) for url in _service_urls(run)}))


def claims_of(run: AnyRun) -> tuple[Claim, ...]:
    """That its URIs name. Only jobs and datasets write, and nowhere but below their own storage."""
    written = [] if isinstance(run, ServingRun) else [run.storage.uri]
    return claims_among(read=(storage.uri for storage in storages_of(run)), written=written)


def _service_urls(run: AnyRun) -> list[str]:
    if isinstance(run, DatasetRun):
        return [stage.back_translate.base_url for stage in run.pipeline or () if stage.back_translate]
    if not isinstance(run, TrainingRun):
        return []
    mlflow, wandb = run.monitoring.mlflow, run.monitoring.wandb
    return [*([mlflow.tracking_uri] if mlflow else []), *([wandb.base_url] if wandb else [])]


def _port(endpoint_url: str | None) -> int:
    if endpoint_url is None:
        return _DEFAULT_PORTS["https"]
    try:
        url = urlsplit(endpoint_url)
        return url.port or _DEFAULT_PORTS[url.scheme]
    except (ValueError, KeyError) as error:
        raise EndpointUnusable(
            f"endpointUrl {endpoint_url!r} of the run config, which an older operator has accepted: "
            "must be http:// or https:// with a port of 1 to 65535, or none; create the resource again with "
            "another"
        ) from error
