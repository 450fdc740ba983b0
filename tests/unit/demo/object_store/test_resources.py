"""The S3 server's objects are safe by default, and its data lie where they outlive it."""

from pathlib import Path
from typing import Any

import pytest

from deepseek_demo.object_store import Installation, secret
from deepseek_demo.object_store.resources import ROOT_SECRET, objects

LOCAL = Installation(volume=Path("/var/lib/volumes/s3"))
ANYWHERE = Installation()


def by_kind(installation: Installation) -> dict[str, Any]:
    return {item["kind"]: item for item in objects(installation)}


def pod(installation: Installation = LOCAL) -> Any:
    return by_kind(installation)["Deployment"]["spec"]["template"]["spec"]


def test_the_pod_passes_the_restricted_level() -> None:
    container = pod()["containers"][0]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_root_keys_come_from_a_secret_and_are_nowhere_else() -> None:
    references = [variable["valueFrom"]["secretKeyRef"]["name"] for variable in pod()["containers"][0]["env"]]
    assert references == [ROOT_SECRET, ROOT_SECRET]
    assert "Secret" not in by_kind(LOCAL)


def test_a_local_volume_is_kept_when_its_claim_is_deleted() -> None:
    volume = by_kind(LOCAL)["PersistentVolume"]["spec"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["hostPath"]["path"] == "/var/lib/volumes/s3"
    assert by_kind(LOCAL)["PersistentVolumeClaim"]["spec"]["storageClassName"] == ""


def test_elsewhere_the_default_storage_class_provides_the_volume() -> None:
    assert "PersistentVolume" not in by_kind(ANYWHERE)
    assert "storageClassName" not in by_kind(ANYWHERE)["PersistentVolumeClaim"]["spec"]


def test_two_servers_never_write_the_same_data() -> None:
    deployment = by_kind(LOCAL)["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")


def test_a_second_installation_has_a_volume_of_its_own() -> None:
    other = Installation(namespace="elsewhere", volume=Path("/other"))
    names = {by_kind(each)["PersistentVolume"]["metadata"]["name"] for each in (LOCAL, other)}
    assert len(names) == 2


@pytest.mark.parametrize("installation", [LOCAL, ANYWHERE], ids=["local", "anywhere"])
def test_pods_find_it_under_the_services_name(installation: Installation) -> None:
    service = by_kind(installation)["Service"]
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert installation.endpoint_url == f"http://{name}.{installation.namespace}.svc:{port}"
    assert (
        service["spec"]["selector"].items()
        <= by_kind(installation)["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_a_secret_holds_text_that_the_api_server_encodes() -> None:
    made = secret("keys", namespace="research", data={"AWS_ACCESS_KEY_ID": "alice"})
    assert made["stringData"] == {"AWS_ACCESS_KEY_ID": "alice"}
