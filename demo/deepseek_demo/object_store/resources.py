"""The Kubernetes objects of the S3 server. Pure: settings in, dictionaries out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_demo import ownership

NAME = "object-store"
PORT = 7070
IMAGE = "localhost/versitygw:1.8.0"
ROOT_SECRET = "object-store-root"  # noqa: S105 the Secret's name
USER_ID = 1000
_DATA_SIZE = "50Gi"
_LABELS = {"app.kubernetes.io/name": "versitygw", "app.kubernetes.io/instance": NAME}

Object = dict[str, Any]


@dataclass(frozen=True)
class Installation:
    """`volume`: a folder under the same path on every node; None takes one of the default StorageClass."""

    namespace: str = NAME
    image: str = IMAGE
    volume: Path | None = None

    @property
    def endpoint_url(self) -> str:
        """How pods reach the server."""
        return f"http://{NAME}.{self.namespace}.svc:{PORT}"


def objects(installation: Installation) -> list[Object]:
    """All but the namespace and the Secret with the root keys, in the order to apply them."""
    volume = [] if installation.volume is None else [_persistent_volume(installation, installation.volume)]
    return [
        *volume,
        _claim(installation),
        _service(installation),
        _policy(installation),
        _deployment(installation),
    ]


def namespace(name: str) -> Object:
    """A namespace of the demo, under the strictest Pod Security level."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", ownership.LABEL: "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def secret(name: str, *, namespace: str, data: dict[str, str]) -> Object:
    """An opaque Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "stringData": data,
    }


def _metadata(installation: Installation, name: str = NAME) -> Object:
    return {"name": name, "namespace": installation.namespace, "labels": _LABELS}


def _persistent_volume(installation: Installation, volume: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{installation.namespace}-data", "labels": _LABELS},
        "spec": {
            "capacity": {"storage": _DATA_SIZE},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": installation.namespace, "name": NAME},
            "hostPath": {"path": str(volume), "type": "Directory"},
        },
    }


def _claim(installation: Installation) -> Object:
    static = (
        {}
        if installation.volume is None
        else {"storageClassName": "", "volumeName": f"{installation.namespace}-data"}
    )
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(installation),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": _DATA_SIZE}},
            **static,
        },
    }


def _service(installation: Installation) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(installation),
        "spec": {"selector": _LABELS, "ports": [{"name": "s3", "port": PORT, "targetPort": PORT}]},
    }


def _policy(installation: Installation) -> Object:
    """Anybody may ask, credentials decide; the server itself calls nobody."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(installation),
        "spec": {
            "podSelector": {"matchLabels": _LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
        },
    }


def _deployment(installation: Installation) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(installation),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": _LABELS}, "spec": _pod(installation)},
        },
    }


def _pod(installation: Installation) -> Object:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 5,
        "containers": [_container(installation)],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": NAME}}],
    }


def _container(installation: Installation) -> Object:
    keys = {"ROOT_ACCESS_KEY_ID": "accessKey", "ROOT_SECRET_ACCESS_KEY": "secretKey"}
    return {
        "name": "versitygw",
        "image": installation.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--port", f"0.0.0.0:{PORT}", "--iam-dir", "/data/iam", "--quiet", "posix", "/data/buckets"],
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": ROOT_SECRET, "key": key}}}
            for name, key in keys.items()
        ],
        "ports": [{"name": "s3", "containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": f"/data/{folder}", "subPath": folder}
            for folder in ("buckets", "iam")
        ],
    }
