"""Where a Secret's value could be read by somebody who may not read Secrets."""

import base64
from collections.abc import Mapping
from pathlib import Path

from harness.kubectl import Kubectl
from harness.platform import NAMESPACE, OPERATOR_NAMESPACE, Platform

NAMESPACES = (NAMESPACE, OPERATOR_NAMESPACE, "object-store")
# Objects that a user of the namespace, or of the cluster, may read without being allowed to read Secrets.
KINDS = "pods,services,configmaps,networkpolicies,dsjob,dsdata,dsrev,dsserve,deployments,replicasets,leases"
NO_SECRETS = ("AWS_ACCESS_KEY_ID", "accessKey")  # account names


def secret_values(platform: Platform) -> dict[str, str]:
    """All values of all Secrets, by where they are."""
    found = {}
    for namespace in NAMESPACES:
        for secret in platform.kubectl.in_namespace(namespace).items("secrets"):
            if secret["type"] != "Opaque":
                continue
            for key, value in secret["data"].items():
                if key not in NO_SECRETS:
                    name = f"{namespace}/{secret['metadata']['name']}/{key}"
                    found[name] = base64.b64decode(value).decode()
    return found


def readable_places(platform: Platform) -> dict[str, str]:
    """Text of every object, event, log, command line and of the audit log, by where it is."""
    places = {"command lines": command_lines(), "the audit log": platform.cluster.audit_log.read_text()}
    for namespace in NAMESPACES:
        kubectl = platform.kubectl.in_namespace(namespace)
        places[f"objects of {namespace}"] = kubectl.run("get", KINDS, "-o", "json")
        places[f"events of {namespace}"] = kubectl.run("get", "events", "-o", "json")
        for pod in kubectl.items("pods"):
            name = pod["metadata"]["name"]
            places[f"the log of {namespace}/{name}"] = log_of(kubectl, name)
    return places


def leaks(secrets: Mapping[str, str], places: Mapping[str, str]) -> list[str]:
    """In words; as it is, or in base64."""
    return [
        f"{secret} in {place}"
        for place, text in places.items()
        for secret, value in secrets.items()
        if value in text or base64.b64encode(value.encode()).decode() in text
    ]


def log_of(kubectl: Kubectl, pod: str) -> str:
    return kubectl.run("logs", pod, "--all-containers")


def command_lines() -> str:
    """Of every process of the machine: the nodes' are among them."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return "\n".join(texts)
