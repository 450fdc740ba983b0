"""Text from the exported model: a pod loads the export from S3, verifies it and continues a prompt."""

import hashlib
from typing import Any

from deepseek_demo.commands import StepFailed
from deepseek_demo.kubectl import Kubectl

Object = dict[str, Any]
_SECONDS = 240
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def sample(kubectl: Kubectl, job: Object, *, image: str, prompt: str) -> str:
    """The prompt and what the model of a finished `job` continues it with. Raises StepFailed.

    The same model and prompt need no second pod: its log is read again while it is there.
    """
    pod = sample_pod(job, image=image, prompt=prompt)
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    if _phase(kubectl, name, namespace) not in ("Pending", "Running", "Succeeded"):
        kubectl.run("delete", "pod", name, "--namespace", namespace, "--ignore-not-found")
        kubectl.apply([pod])
    look_at = f"{' '.join(kubectl.command)} -n {namespace} describe pod {name}"
    kubectl.wait_for(
        lambda: _phase(kubectl, name, namespace) in ("Succeeded", "Failed"),
        what=f"pod {name} to continue a prompt",
        seconds=_SECONDS,
        look_at=look_at,
    )
    text = kubectl.text("logs", name, "--namespace", namespace)
    if _phase(kubectl, name, namespace) == "Failed":
        raise StepFailed(f"pod {name} could not sample from the model:\n{text.strip()}\nlook at: {look_at}")
    return text.strip()


def sample_pod(job: Object, *, image: str, prompt: str) -> Object:
    """The pod, named by model, image and prompt. Pure."""
    storage, export = job["spec"]["storage"], job["status"]["export"]
    command = ["python", "-m", "deepseek_workloads.export.sample", "--uri", export["uri"], "--prompt", prompt]
    if "endpointUrl" in storage:
        command += ["--endpoint-url", storage["endpointUrl"]]
    key = hashlib.sha256("\0".join([image, *command]).encode()).hexdigest()[:8]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job['metadata']['name']}-sample-{key}",
            "namespace": job["metadata"]["namespace"],
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(image, command, storage.get("secretRef"))],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _container(image: str, command: list[str], secret: Object | None) -> Object:
    keys = [] if secret is None else list(_CREDENTIALS)
    return {
        "name": "sample",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": secret["name"], "key": key}}}
            for key in keys
            if secret is not None
        ],
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _phase(kubectl: Kubectl, name: str, namespace: str) -> str:
    pod = kubectl.get("pod", name, namespace=namespace)
    return "" if pod is None else str(pod.get("status", {}).get("phase", ""))
