"""Puts the S3 server into a cluster and returns when it answers.

It knows kubectl and the server's objects; accounts and buckets are made by whoever uses the server.
"""

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store.accounts import Credentials, ObjectStore
from deepseek_demo.object_store.resources import (
    IMAGE,
    NAME,
    PORT,
    ROOT_SECRET,
    USER_ID,
    Installation,
    namespace,
    objects,
    secret,
)
from local_kubernetes import StaticImage, binary, write_static_archive

_READY_SECONDS = 180


def write_image_archive(path: Path) -> None:
    """The server as an OCI archive named IMAGE: one static program, nothing else."""
    program = binary("versitygw").read_bytes()
    image = StaticImage(
        reference=IMAGE,
        files={"/versitygw": (program, 0o755)},
        entrypoint=("/versitygw",),
        user=f"{USER_ID}:{USER_ID}",
    )
    write_static_archive(image, path)


def install_object_store(
    kubectl: Kubectl,
    installation: Installation,
    *,
    wait_from_here: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> ObjectStore:
    """The running server; what is there is kept, also its data. The nodes must be able to get the image.

    `wait_from_here`: also until this machine reaches the Service by its cluster IP, which not every machine
    can. `say` hears what is waited for. Raises StepFailed.
    """
    kubectl.apply([namespace(installation.namespace)])
    root = _root_credentials(kubectl, installation.namespace)
    if installation.volume is not None:
        _prepare(installation.volume)
    kubectl.apply(objects(installation))
    say(f"waiting for deployment/{NAME} in {installation.namespace}")
    look_at = f"{' '.join(kubectl.command)} -n {installation.namespace} describe pods"
    kubectl.wait_for(
        lambda: _available(kubectl, installation),
        what="the S3 server",
        seconds=_READY_SECONDS,
        look_at=look_at,
    )
    store = ObjectStore(
        endpoint_url=installation.endpoint_url,
        host_endpoint_url=_cluster_ip_url(kubectl, installation),
        root=root,
        data=None if installation.volume is None else installation.volume / "buckets",
    )
    if wait_from_here:
        kubectl.wait_for(lambda: answers(store), what="the S3 server's Service", seconds=60, look_at=look_at)
    return store


def reached_at(store: ObjectStore, address: str) -> ObjectStore:
    """The same server, reached from this machine at host:port."""
    return replace(store, host_endpoint_url=f"http://{address}")


def answers(store: ObjectStore) -> bool:
    """Whether the server answers its administrator."""
    try:
        store.client().list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True


def _root_credentials(kubectl: Kubectl, space: str) -> Credentials:
    """The keys in the Secret, made once. The server's accounts and data do not depend on their value."""
    found = kubectl.get("secret", ROOT_SECRET, namespace=space)
    if found is not None:
        data = {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
        return Credentials(data["accessKey"], data["secretKey"])
    made = Credentials.generate("root")
    data = {"accessKey": made.access_key, "secretKey": made.secret_key}
    kubectl.apply([secret(ROOT_SECRET, namespace=space, data=data)])
    return made


def _prepare(volume: Path) -> None:
    """The folders that the container mounts must be its user's: kubelet would make them root's."""
    for folder in ("buckets", "iam"):
        path = volume / folder
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, USER_ID, USER_ID)


def _available(kubectl: Kubectl, installation: Installation) -> bool:
    deployment = kubectl.get("deployment", NAME, namespace=installation.namespace)
    if deployment is None:
        return False
    status = deployment.get("status", {})
    observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    updated, available = status.get("updatedReplicas"), status.get("availableReplicas")
    return bool(observed and updated == 1 and available == 1)


def _cluster_ip_url(kubectl: Kubectl, installation: Installation) -> str:
    service = kubectl.get("service", NAME, namespace=installation.namespace)
    assert service is not None, "it was applied above"
    return f"http://{service['spec']['clusterIP']}:{PORT}"
