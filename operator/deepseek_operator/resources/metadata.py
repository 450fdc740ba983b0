"""Metadata of an owned object: name, labels, and the owner whose deletion deletes it."""

from typing import Any

from deepseek_operator.api.schema import API_VERSION
from deepseek_operator.resources.names import ResourceName, common_labels

Document = dict[str, Any]
"""A Kubernetes object as JSON."""


def has_spec_of(found: Document, wanted: Document) -> bool:
    """Whether the object on the server says what is wanted: selectors and rules to the letter, since one key
    more would lead elsewhere. The server adds fields to a Service, and to each of its ports."""
    spec = found.get("spec") or {}
    return all(
        _ports(spec.get(name) or [], value) if name == "ports" else spec.get(name) == value
        for name, value in wanted["spec"].items()
    )


def _ports(found: list[Document], wanted: list[Document]) -> bool:
    return len(found) == len(wanted) and all(
        theirs.items() >= ours.items() for theirs, ours in zip(found, wanted, strict=True)
    )


def owner_reference(resource: ResourceName) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "name": resource.name,
        "uid": resource.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def run_config_reference(resource: ResourceName) -> Document:
    """The owner of what goes with one cluster of a service."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": resource.run_config_map,
        "uid": resource.run_config_uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def dependent_metadata(
    resource: ResourceName, *, name: str, labels: dict[str, str] | None = None
) -> Document:
    """Of what lives as long as the run config: the resource's own life, or a cluster's."""
    metadata = owned_metadata(resource, name=name, labels=labels)
    return metadata | (
        {"ownerReferences": [run_config_reference(resource)]} if resource.run_config_uid else {}
    )


def owned_metadata(resource: ResourceName, *, name: str, labels: dict[str, str] | None = None) -> Document:
    return {
        "name": name,
        "namespace": resource.namespace,
        "labels": common_labels(resource) if labels is None else labels,
        "ownerReferences": [owner_reference(resource)],
    }
