"""What an installation can set: environment variables, with arguments before them. It decides nothing."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepseek_operator.resources.settings import BuildSettings, NetworkSettings

_PREFIX: Final = "DEEPSEEK_"
_LISTS: Final = ("watch_namespaces", "storage_ports")
_STRUCTURES: Final = ("storage_peers", "operator_labels")


class Settings(BaseModel):
    """Each field is read from `DEEPSEEK_<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    watch_namespaces: tuple[str, ...] = ()  # empty: all namespaces
    worker_image: str = ""  # of pods whose resource names none
    horovod_worker_image: str = ""  # the same, of jobs with backend horovod
    gpu_resource: str = "nvidia.com/gpu"  # the extended resource of the device plugin
    node_lost_seconds: int = Field(default=15, ge=0)  # from a node's being marked lost to new pods
    # Of jobs with minNodes: that a worker waits for a node before its run goes on without it, as a standby
    # pod does before it is deleted, and that a run goes on with fewer nodes before it looks for more.
    shrink_after_seconds: float = Field(default=300.0, gt=0)
    grow_after_seconds: float = Field(default=600.0, gt=0)
    storage_ports: tuple[int, ...] = ()  # that pods may reach S3 on, besides the ports of endpoint URLs
    storage_peers: tuple[dict[str, Any], ...] = ()  # JSON: NetworkPolicyPeers of the S3 services; empty: any
    operator_labels: dict[str, str] = Field(default_factory=dict)  # JSON: of the operator's pods
    operator_namespace: str = "deepseek-system"
    operator_name: str = "deepseek-operator"  # of this process; the pod's name
    lease_name: str = "deepseek-operator"
    key_secret_name: str = "deepseek-operator-key"  # noqa: S105 - a name
    http_host: str = "0.0.0.0"  # noqa: S104 - probes and metrics come from the node
    http_port: int = Field(default=8080, ge=0, le=65535)
    concurrency: int = Field(default=16, ge=1, le=256)  # resources reconciled at a time
    request_timeout_seconds: float = Field(default=15.0, gt=0)
    reconcile_timeout_seconds: float = Field(default=60.0, gt=0)
    progress_interval_seconds: float = Field(default=2.0, gt=0)  # between looks at a running coordinator
    resync_interval_seconds: float = Field(default=30.0, gt=0)  # between looks at Services and policies
    watch_check_seconds: float = Field(default=60.0, gt=0)  # between comparisons of resource versions
    lease_duration_seconds: int = Field(default=10, ge=3)
    lease_renew_deadline_seconds: float = Field(default=7.0, gt=0)
    lease_retry_seconds: float = Field(default=1.0, ge=1)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @model_validator(mode="after")
    def _lease_is_given_up_before_it_ends(self) -> "Settings":
        """Otherwise two could lead at once."""
        if not self.lease_retry_seconds < self.lease_renew_deadline_seconds < self.lease_duration_seconds:
            raise ValueError(
                f"lease_retry_seconds {self.lease_retry_seconds} < lease_renew_deadline_seconds "
                f"{self.lease_renew_deadline_seconds} < lease_duration_seconds {self.lease_duration_seconds} "
                "must hold: a leader gives up before another may take the Lease"
            )
        return self

    def build_settings(self) -> BuildSettings:
        """What of it the builders of pods need."""
        return BuildSettings(
            worker_image=self.worker_image,
            horovod_worker_image=self.horovod_worker_image,
            gpu_resource=self.gpu_resource,
            node_lost_seconds=self.node_lost_seconds,
            network=NetworkSettings(
                operator_namespace=self.operator_namespace,
                operator_labels=self.operator_labels,
                storage_peers=self.storage_peers,
                storage_ports=self.storage_ports,
            ),
        )


class InvalidSettings(ValueError):
    """Names every setting that cannot be used."""


def load_settings(environ: Mapping[str, str], **arguments: object) -> Settings:
    """Arguments that are None are left to the environment. Raises InvalidSettings."""
    values: dict[str, object] = {}
    for name in Settings.model_fields:
        given = environ.get(_PREFIX + name.upper())
        if given is not None:
            values[name] = _parsed(name, given)
    values |= {name: value for name, value in arguments.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{_PREFIX}{'.'.join(map(str, e['loc'])).upper()}={e['input']!r}: {e['msg']}"
            for e in error.errors()
        )
        raise InvalidSettings(problems) from error


def _parsed(name: str, text: str) -> object:
    """Lists of words and numbers are separated by commas, structures are JSON."""
    if name in _LISTS:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if name in _STRUCTURES:
        try:
            return json.loads(text or "null") or Settings.model_fields[name].get_default(
                call_default_factory=True
            )
        except ValueError:
            return text  # refused below, with its name
    return text
