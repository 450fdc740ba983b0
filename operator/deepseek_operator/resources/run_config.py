"""From a resource to the run config that its pods read: everything resolved, nothing secret, no Kubernetes.

It takes the spec as valid in itself; `validation` says in a user's words what is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from deepseek_operator.api import storage as api_storage
from deepseek_operator.api.dataset import DatasetSpec, DeepSeekDataset, Images
from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.pods import RunPolicy, Workers
from deepseek_operator.api.training_data import DatasetSource
from deepseek_operator.api.training_job import DeepSeekTrainingJob, TrainingJobSpec
from deepseek_operator.resources.quantity import parse_bytes, parse_quantity
from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.layout import DATASET_MANIFEST, digest_in_uri, join_uri
from deepseek_workloads.contract.monitoring import Alerts
from deepseek_workloads.contract.pipeline import web_recipe
from deepseek_workloads.contract.retention import Retention
from deepseek_workloads.contract.run_config import DatasetRun, InitialExport, Storage, TrainingRun

Values = dict[str, Any]
GPU_PRODUCT_LABEL = "nvidia.com/gpu.product"  # of nodes, by NVIDIA's GPU feature discovery


@dataclass(frozen=True)
class PreparedDataset:
    """A DeepSeekDataset that is ready."""

    storage: Storage
    digest: str | None


def prepared_dataset(dataset: DeepSeekDataset) -> PreparedDataset | None:
    """None: the dataset is not ready."""
    ready = any(c.type == "Succeeded" and c.status == "True" for c in dataset.status.conditions)
    if not ready or not dataset.status.digest:
        return None
    storage = _storage(dataset.spec.storage).model_copy(update={"uri": dataset.status.uri})
    return PreparedDataset(storage=storage, digest=dataset.status.digest)


def export_at(uri: str, job: DeepSeekTrainingJob) -> InitialExport:
    """An export that the job names by its URI: in the S3 service of its own storage."""
    storage = job.spec.storage
    return InitialExport(
        uri=uri, endpoint_url=storage.endpoint_url, region=storage.region, digest=digest_in_uri(uri)
    )


def export_of(revision: DeepSeekModelRevision) -> InitialExport:
    spec, location = revision.spec, revision.spec.storage_location
    return InitialExport(
        uri=spec.storage_uri,
        endpoint_url=location.endpoint_url,
        region=location.region,
        digest=spec.digest,
    )


def render_training_run(
    job: DeepSeekTrainingJob,
    *,
    architecture: Architecture,
    datasets: Mapping[str, PreparedDataset],
    init_from: InitialExport | None = None,
    teacher: InitialExport | None = None,
) -> TrainingRun:
    """`datasets` by the name in datasetRef; `init_from` and `teacher`: the exports that the spec's
    references stand for. Raises pydantic.ValidationError, whose paths are those of the spec as far as names
    are shared, for numbers out of their bounds."""
    spec = job.spec
    return TrainingRun.model_validate(
        {
            "owner": _owner(job),
            "backend": spec.backend,
            "architecture": architecture,
            "model_function": spec.model.function,
            "init_from": init_from,
            "vision_init_from": _vision_checkpoint(job),
            "data": {
                "sources": [
                    _source(source, spec=spec, datasets=datasets)
                    | {"weight": source.weight, "max_epochs": source.max_epochs}
                    for source in spec.data.sources
                ],
                "sequence_length": spec.data.sequence_length,
                "seed": spec.data.seed,
                "cache_bytes": parse_bytes(spec.data.cache_size) if spec.data.cache_size else None,
                "document_mask": spec.data.document_mask or None,
                "mixture": _mixture(spec),
                "long_conversations": None
                if spec.data.long_conversations == "truncate"
                else spec.data.long_conversations,
                "packing": None if spec.data.packing == "packed" else spec.data.packing,
                "skip": [skipped.model_dump() for skipped in spec.data.skip] or None,
            },
            "training": _training(spec, teacher),
            "checkpoint": spec.checkpoint.model_dump()
            | {"memory_replicas": spec.checkpoint.memory_replicas or None},
            "evaluation": spec.evaluation.model_dump(exclude={"sources"})
            | {
                "sources": [
                    _source(source, spec=spec, datasets=datasets) for source in spec.evaluation.sources
                ]
                or None
            },
            "monitoring": _monitoring(spec),
            "alerts": alerts_of(spec),
            "workers": _workers(spec.workers),
            "storage": _storage(spec.storage),
            "run_policy": _run_policy(spec.run_policy),
        }
    )


def _vision_checkpoint(job: DeepSeekTrainingJob) -> InitialExport | None:
    vision = job.spec.model.vision
    if vision is None or vision.init_from is None:
        return None
    return export_at(vision.init_from.storage_uri, job)


def alerts_of(spec: TrainingJobSpec) -> Alerts:
    """As a running coordinator gets them, too, when they change."""
    return Alerts.model_validate(spec.alerts.model_dump())


def retention_of(spec: TrainingJobSpec) -> Retention:
    """Likewise."""
    return Retention.model_validate(spec.checkpoint.model_dump())


def _monitoring(spec: TrainingJobSpec) -> Values:
    """0 stands for never."""
    wanted = spec.monitoring
    return {
        "activation_range_every_steps": wanted.activation_range_every_steps or None,
        "histograms_every_steps": wanted.histograms_every_steps or None,
        "profile": wanted.profile.model_dump() if wanted.profile else None,
        "mlflow": wanted.mlflow.model_dump(exclude={"secret_ref"}) if wanted.mlflow else None,
        "wandb": wanted.wandb.model_dump(exclude={"secret_ref"}) if wanted.wandb else None,
    }


def render_dataset_run(
    dataset: DeepSeekDataset, *, tokenizer_of: PreparedDataset | None = None
) -> DatasetRun:
    """`tokenizer_of`: what spec.tokenizer.datasetRef stands for. Raises pydantic.ValidationError for numbers
    out of their bounds."""
    spec = dataset.spec
    given = join_uri(tokenizer_of.storage.uri, DATASET_MANIFEST) if tokenizer_of else spec.tokenizer.uri
    return DatasetRun.model_validate(
        {
            "owner": _owner(dataset),
            "raw_sources": [source.model_dump() for source in spec.sources],
            "raw_storage": _raw_storage(spec),
            "tokenizer": spec.tokenizer.train.model_dump() if spec.tokenizer.train else None,
            "tokenizer_uri": given,
            "chat_template": spec.chat_template,
            **_images(spec.images),
            "normalization": spec.normalization,
            "deduplicate": spec.deduplicate,
            "pipeline": _pipeline(spec),
            "held_out_fraction": spec.held_out_fraction,
            "shard_tokens": spec.shard_tokens,
            **_bad_records(spec.max_bad_records),
            "workers": _workers(spec.workers),
            "storage": _storage(spec.storage),
            "run_policy": _run_policy(spec.run_policy),
        }
    )


def _images(images: Images | None) -> Values:
    if images is None:
        return {"images": None}
    augment = images.augment.model_dump() if images.augment else None
    return {"images": images.model_dump(exclude={"augment"}), "image_augmentation": augment}


def _bad_records(limit: int | str) -> Values:
    if isinstance(limit, int):
        return {"max_bad_records": limit}
    return {"max_bad_share": float(limit.removesuffix("%")) / 100}


def _pipeline(spec: DatasetSpec) -> list[Values] | None:
    """A recipe is written out: what it stands for may change with the operator, not within a run."""
    if spec.recipe == "web":
        return [stage.model_dump(exclude_none=True) for stage in web_recipe()]
    secrets = {"back_translate": {"secret_ref"}}
    stages = spec.pipeline or ()
    return [stage.model_dump(exclude_none=True, exclude=secrets) for stage in stages] or None


def steps_of(spec: TrainingJobSpec) -> int:
    """Tokens become whole steps, rounded up."""
    if spec.training.steps is not None:
        return spec.training.steps
    tokens_per_step = spec.training.global_batch_size * spec.data.sequence_length
    return max(1, ceil((spec.training.tokens or 0) / tokens_per_step))


def _owner(resource: DeepSeekTrainingJob | DeepSeekDataset) -> Values:
    """Without the generation: what may change of a spec (suspend, deadlines) is no part of the run."""
    return resource.metadata.model_dump(include={"namespace", "name", "uid"})


def _source(
    source: DatasetSource, *, spec: TrainingJobSpec, datasets: Mapping[str, PreparedDataset]
) -> Values:
    prepared = (
        datasets[source.dataset_ref.name]
        if source.dataset_ref is not None
        else PreparedDataset(
            storage=Storage(
                uri=source.uri or "",
                endpoint_url=source.endpoint_url or spec.storage.endpoint_url,
                region=source.region or spec.storage.region,
            ),
            digest=source.digest,
        )
    )
    return {
        "name": source.name,
        "storage": prepared.storage,
        "digest": prepared.digest,
    }


def _mixture(spec: TrainingJobSpec) -> list[Values] | None:
    """Tokens have become samples."""
    if spec.data.mixture is None:
        return None
    return [
        {
            "at_sample": stage.at_samples or -(-(stage.at_tokens or 0) // spec.data.sequence_length),
            "weights": stage.weights,
        }
        for stage in spec.data.mixture.schedule
    ]


def _training(spec: TrainingJobSpec, teacher: InitialExport | None) -> Values:
    """Tokens have become steps, `auto` a precision, an absent zeroStage one; the rest is named alike."""
    parallelism = spec.training.parallelism.model_dump(exclude_none=True)
    return spec.training.model_dump(exclude={"tokens"}) | {
        "distillation": _distillation(spec, teacher),
        "steps": steps_of(spec),
        "precision": _precision(spec),
        "compile": None if spec.training.compile == "never" else spec.training.compile,
        "parallelism": {"zero_stage": 0 if spec.backend == "horovod" else 2} | parallelism,
    }


def _distillation(spec: TrainingJobSpec, teacher: InitialExport | None) -> Values | None:
    """What it reads has become places with an endpoint."""
    wanted = spec.training.distillation
    if wanted is None:
        return None
    stored = wanted.teacher_logits
    location = _storage(spec.storage).model_dump() | stored.model_dump() if stored else None
    return wanted.model_dump() | {"teacher": teacher if wanted.teacher else None, "teacher_logits": location}


def _precision(spec: TrainingJobSpec) -> str:
    if spec.training.precision != "auto":
        return spec.training.precision
    return "bf16" if spec.workers.resources.gpu else "fp32"


def _workers(workers: Workers) -> Values:
    return {
        "num_nodes": workers.num_nodes,
        "num_proc_per_node": workers.num_proc_per_node,
        "min_nodes": workers.min_nodes or workers.num_nodes,
        "cpus_per_node": float(parse_quantity(workers.resources.cpu)),
        "gpus_per_node": workers.resources.gpu,
        "gpu_product": workers.node_selector.get(GPU_PRODUCT_LABEL),
        "memory_bytes": parse_bytes(workers.resources.memory),
    }


def _storage(storage: api_storage.Storage) -> Storage:
    return Storage(uri=storage.uri, endpoint_url=storage.endpoint_url, region=storage.region)


def _raw_storage(spec: DatasetSpec) -> Storage:
    """The endpoint of the raw sources; its uri is the first one's, since each source names its own."""
    location = spec.source_storage or spec.storage
    return Storage(uri=spec.sources[0].uri, endpoint_url=location.endpoint_url, region=location.region)


def _run_policy(policy: RunPolicy) -> Values:
    return policy.model_dump(include={"backoff_limit", "startup_deadline_seconds", "drain_seconds"})
