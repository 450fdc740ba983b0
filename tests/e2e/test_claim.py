"""A job whose data, checkpoints and model lie on a PersistentVolumeClaim: no bucket and no credentials."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.kubectl import condition, conditions_in_words
from harness.platform import NAMESPACE, Platform
from harness.resources import Object

CLAIM, VOLUME = "shared", f"{NAMESPACE}-shared"
OWNER = 1000  # uid and gid of every pod of a run
STEPS = 20
SIZE = "1Gi"


@pytest.fixture(scope="module")
def volume(platform: Platform, dataset: str) -> Iterator[Path]:
    """What the claim is bound to, with the prepared dataset in `datasets/docs`. A hostPath knows no fsGroup:
    its owner is who may write."""
    folder = platform.cluster.volumes_dir / CLAIM
    uri = platform.get("dsdata", dataset)["status"]["uri"]
    bucket, prefix = uri.removeprefix("s3://").rstrip("/").split("/", 1)
    for key in platform.bucket.keys(f"{uri.rstrip('/')}/"):
        path = folder / "datasets/docs" / key.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(platform.bucket.read(f"s3://{bucket}/{key}"))
    os.chown(folder, OWNER, OWNER)
    platform.kubectl.apply(_persistent_volume(folder), _claim())
    yield folder
    platform.kubectl.delete("pvc", CLAIM, "--wait=false")  # it is kept until no pod mounts it
    platform.kubectl.delete("pv", VOLUME, "--wait=false")


@pytest.fixture(scope="module")
def job(platform: Platform, volume: Path) -> Object:
    source = {"name": "corpus", "uri": f"pvc://{CLAIM}/datasets/docs"}
    storage = {"uri": f"pvc://{CLAIM}/jobs/tiny", "endpointUrl": None, "secretRef": None}
    change = {
        "data": {"sources": [source]},
        "storage": storage,
        "training": {"steps": STEPS},
        "checkpoint": {"everySteps": STEPS // 2},
    }
    return platform.wait_until_finished(platform.apply_job("on-a-claim", dataset_name="", change=change))


def test_a_job_on_a_claim_succeeds(job: Object) -> None:
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    assert job["status"]["step"] == STEPS


def test_its_checkpoints_and_its_log_are_files_of_the_volume(volume: Path, job: Object) -> None:
    records = [json.loads(path.read_bytes()) for path in sorted((volume / "jobs/tiny/log").iterdir())]
    steps = [record["step"] for record in records if record["kind"] == "checkpoint"]
    assert steps[-1] == STEPS
    assert (volume / "jobs/tiny/log/00000001.json").stat().st_uid == OWNER


def test_the_revision_says_where_the_model_lies(platform: Platform, volume: Path, job: Object) -> None:
    export = job["status"]["export"]
    assert platform.get("dsrev", export["revision"])["spec"]["storageUri"] == export["uri"]
    folder = volume / export["uri"].removeprefix(f"pvc://{CLAIM}/")
    assert (folder / "manifest.json").is_file()


def _persistent_volume(folder: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": VOLUME},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": NAMESPACE, "name": CLAIM},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def _claim() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": VOLUME,
            "resources": {"requests": {"storage": SIZE}},
        },
    }
