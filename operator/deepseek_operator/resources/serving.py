"""One Ray cluster of a service: what it serves, the template of its pods, and the names derived from them.

It does not know which cluster gets requests (`status.rollout`).
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.pods import Coordinator, RunPolicy, Workers
from deepseek_operator.api.schema import SpecModel
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.pod_set import PodSet, claims_of, storage_ports, storage_schemes
from deepseek_operator.resources.quantity import parse_bytes, parse_quantity
from deepseek_operator.resources.settings import BuildSettings
from deepseek_workloads.contract.run_config import CheckBaseline, ServingRun, Storage

_ID_DIGITS: Final = 8
# From the end of draining until the kubelet kills: the time in which Ray ends.
_GRACE_AFTER_DRAIN: Final = 15


class PodTemplate(SpecModel):
    """What pods of one cluster are made from for as long as it lives, whatever becomes of the spec."""

    image: str
    image_pull_policy: str
    image_pull_secrets: list[str]
    credentials_secret: str | None = None
    api_keys_secret: str | None = None
    workers: Workers
    coordinator: Coordinator
    run_policy: RunPolicy


@dataclass(frozen=True)
class ServingTarget:
    """A revision, and the way in which the spec wants it served."""

    revision: str
    uid: str
    digest: str
    run: ServingRun  # without a baseline
    template: PodTemplate
    template_hash: str


def serving_target(
    service: DeepSeekModelService, revision: DeepSeekModelRevision, *, settings: BuildSettings
) -> ServingTarget:
    """Raises pydantic.ValidationError for numbers out of their bounds."""
    template = _template(service, revision, settings)
    run = _run(service, revision, template)
    return ServingTarget(
        revision=revision.metadata.name,
        uid=revision.metadata.uid,
        digest=revision.spec.digest,
        run=run,
        template=template,
        template_hash=_template_hash(service, run, template),
    )


def with_baseline(run: ServingRun, baseline: CheckBaseline | None) -> ServingRun:
    return run.model_copy(update={"check": run.check.model_copy(update={"baseline": baseline})})


def cluster_id(service: DeepSeekModelService, target: ServingTarget, *, active: str) -> str:
    """Another one for each attempt: of the same target after another active cluster, or under another check.

    So a rollback never meets what is left of the cluster that served the revision before.
    """
    rollout = service.spec.rollout.model_dump(exclude={"revision_history_limit"}, exclude_defaults=True)
    return _hash([service.metadata.uid, target.template_hash, rollout, active])


def cluster_name(service: DeepSeekModelService, cluster: str, *, run_config_uid: str = "") -> ResourceName:
    metadata = service.metadata
    return ResourceName(
        service.kind, metadata.namespace, metadata.name, metadata.uid, cluster, run_config_uid
    )


def serving_pod_set(
    resource: ResourceName, *, run: ServingRun, template: PodTemplate, settings: BuildSettings
) -> PodSet:
    """`run` and `template` are the pinned ones: a spec that changed makes another cluster. Raises
    EndpointUnusable."""
    return PodSet(
        resource=resource,
        run_config_map=resource.run_config_map,
        image=template.image,
        image_pull_policy=template.image_pull_policy,
        image_pull_secrets=tuple(template.image_pull_secrets),
        credentials_secret=template.credentials_secret,
        workers=template.workers,
        coordinator=template.coordinator,
        run_policy=template.run_policy,
        storage_schemes=storage_schemes(run),
        storage_ports=storage_ports(run, settings),
        claims=claims_of(run),
        settings=settings,
        serves=True,
        api_keys_secret=template.api_keys_secret,
    )


def _template(
    service: DeepSeekModelService, revision: DeepSeekModelRevision, settings: BuildSettings
) -> PodTemplate:
    spec = service.spec
    credentials = spec.secret_ref or revision.spec.secret_ref
    policy = {
        "drain_seconds": spec.drain_seconds,
        "termination_grace_period_seconds": spec.drain_seconds + _GRACE_AFTER_DRAIN,
    }
    return PodTemplate(
        image=spec.image or settings.worker_image,
        image_pull_policy=spec.image_pull_policy,
        image_pull_secrets=[reference.name for reference in spec.image_pull_secrets],
        credentials_secret=credentials.name if credentials else None,
        api_keys_secret=spec.api_keys_secret_ref.name if spec.api_keys_secret_ref else None,
        workers=Workers.model_validate(spec.pods.model_dump()),
        coordinator=Coordinator.model_validate(spec.coordinator.model_dump()),
        run_policy=RunPolicy.model_validate(policy),
    )


def _run(service: DeepSeekModelService, revision: DeepSeekModelRevision, template: PodTemplate) -> ServingRun:
    spec, resources = service.spec, template.workers.resources
    precision = spec.engine.precision
    location = revision.spec.storage_location
    return ServingRun.model_validate(
        {
            "owner": service.metadata.model_dump(include={"namespace", "name", "uid"}),
            "served_model_name": spec.served_model_name or service.metadata.name,
            "revision": {
                "name": revision.metadata.name,
                "uid": revision.metadata.uid,
                "storage": Storage(
                    uri=revision.spec.storage_uri, endpoint_url=location.endpoint_url, region=location.region
                ),
                "digest": revision.spec.digest,
            },
            "engine": spec.engine.model_dump()
            | {"precision": ("bf16" if resources.gpu else "fp32") if precision == "auto" else precision},
            "check": {
                "prompts": spec.rollout.check.prompts,
                "max_bits_per_byte_increase": spec.rollout.check.max_bits_per_byte_increase,
            },
            "proxy": spec.proxy.lower(),
            "require_api_key": spec.api_keys_secret_ref is not None,
            "workers": {
                "num_nodes": spec.replicas.min,
                "min_nodes": spec.replicas.min,
                "cpus_per_node": float(parse_quantity(resources.cpu)),
                "gpus_per_node": resources.gpu,
                "memory_bytes": parse_bytes(resources.memory),
            },
            "run_policy": {"drain_seconds": spec.drain_seconds},
        }
    )


def _template_hash(service: DeepSeekModelService, run: ServingRun, template: PodTemplate) -> str:
    """Without what is changed in place (replicas) or decides about a rollout only (the check). Defaults are
    left out, the installation's default image too: a new release of the operator changes no service."""
    pods = template.model_dump(exclude_defaults=True) | {"image": service.spec.image or ""}
    serving = run.model_dump(
        exclude_defaults=True, exclude={"check": True, "workers": {"num_nodes", "min_nodes"}}
    )
    return _hash([pods, serving])


def _hash(value: Any) -> str:
    content = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:_ID_DIGITS]
