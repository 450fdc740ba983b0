"""The objects that a run's pods need before they start: run config, token, Service."""

import base64

from deepseek_operator.resources.metadata import Document, dependent_metadata, owned_metadata
from deepseek_operator.resources.names import LABEL_INCARNATION, LABEL_ROLE, ResourceName
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.environment import (
    COORDINATOR_PORT,
    EPOCH_PORT,
    JOB_TOKEN_SECRET_KEY,
    RAY_PORT,
    ROLE_COORDINATOR,
    RUN_CONFIG_FILE,
)
from deepseek_workloads.contract.run_config import AnyRun

RUN_CONFIG_KEY = RUN_CONFIG_FILE.rsplit("/", 1)[1]
COORDINATOR_PORTS = {"progress": COORDINATOR_PORT, "epoch": EPOCH_PORT, "ray": RAY_PORT}


class RunConfigMissing(ValueError):
    """The ConfigMap is not the one that the operator wrote."""


def build_run_config_map(resource: ResourceName, run: AnyRun, *, name: str | None = None) -> Document:
    """Immutable: a pod never reads two run configs. `name`: another than that of the pinned one."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owned_metadata(resource, name=name or resource.run_config_map),
        "immutable": True,
        "data": {RUN_CONFIG_KEY: run.to_json().decode()},
    }


def run_config_of(config_map: Document) -> str:
    """The document that the ConfigMap holds. Raises RunConfigMissing."""
    try:
        return str(config_map["data"][RUN_CONFIG_KEY])
    except (KeyError, TypeError) as error:
        name = config_map.get("metadata", {}).get("name", "?")
        raise RunConfigMissing(
            f"ConfigMap {name}: has no {RUN_CONFIG_KEY}; delete the ConfigMap and the resource, and create "
            "the resource again"
        ) from error


def run_config_digest(document: str) -> str:
    """What status.runConfigDigest pins."""
    return sha256_digest(document.encode())


def build_token_secret(resource: ResourceName, *, token: str) -> Document:
    """Created once; the operator never reads it back: it derives the token again."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": dependent_metadata(resource, name=resource.token_secret),
        "type": "Opaque",
        "immutable": True,
        "data": {JOB_TOKEN_SECRET_KEY: base64.b64encode(token.encode()).decode()},
    }


def build_coordinator_service(resource: ResourceName, *, incarnation: int) -> Document:
    """Headless: the name stays when the coordinator pod is replaced. Workers reach it before it is ready.

    It selects one incarnation: a predecessor that hangs on a lost node is no longer found by anybody.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": dependent_metadata(resource, name=resource.coordinator_service),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {
                **resource.selector,
                LABEL_ROLE: ROLE_COORDINATOR,
                LABEL_INCARNATION: str(incarnation),
            },
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
                for name, port in COORDINATOR_PORTS.items()
            ],
        },
    }
