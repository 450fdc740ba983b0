"""All that a job needs, in one cluster: the S3 server, the operator from its chart, a namespace, a bucket.

It knows how a user reaches these things, and waits for what a user would see; it asserts nothing itself.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_demo import object_store
from deepseek_demo.images import Builder, ImageSettings, load
from deepseek_demo.kubectl import Kubectl as DemoKubectl
from harness.kubectl import Kubectl, condition, conditions_in_words, is_finished
from harness.resources import dataset, merged, training_job
from harness.run_history import Bucket, RunHistory, read_history
from harness.waiting import wait_until
from local_kubernetes import Cluster

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = "research"
OPERATOR_NAMESPACE = "deepseek-system"
BUCKET = "research"
Object = dict[str, Any]


@dataclass(frozen=True)
class Platform:
    cluster: Cluster
    kubectl: Kubectl
    store: object_store.ObjectStore
    bucket: Bucket
    bucket_name: str = BUCKET

    @property
    def second_node(self) -> str:
        return self.cluster.nodes[1]

    def get(self, kind: str, name: str) -> Object:
        found = self.kubectl.get(kind, name)
        assert found is not None, f"{kind}/{name} does not exist"
        return found

    def create_secret(self, name: str, values: Mapping[str, str]) -> None:
        self.kubectl.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(values)}
        )

    # applying
    def apply_dataset(self, name: str, *, raw_uri: str, change: Mapping[str, Any] | None = None) -> str:
        uri, endpoint = f"s3://{self.bucket_name}/datasets/{name}", self.store.endpoint_url
        self.kubectl.apply(dataset(name, raw_uri=raw_uri, uri=uri, endpoint_url=endpoint, change=change))
        return name

    def apply_job(self, name: str, dataset_name: str, change: Mapping[str, Any] | None = None) -> str:
        uri, endpoint = self.job_uri(name), self.store.endpoint_url
        job = training_job(name, dataset_name=dataset_name, uri=uri, endpoint_url=endpoint, change=change)
        self.kubectl.apply(without_nulls(job))
        return name

    def job_uri(self, name: str) -> str:
        return f"s3://{self.bucket_name}/jobs/{name}"

    def workers_on_the_second_node(self) -> Object:
        """Workers that prefer the GPU pool's node and may go elsewhere when it is lost."""
        pool = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}
        preferred = [{"weight": 100, "preference": pool}]
        return {
            "workers": {
                "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            }
        }

    # watching
    def pods(self, name: str, *, role: str = "") -> list[Object]:
        """Of the job or dataset of that name, without those that are ending."""
        selector = f"deepseek.dev/name={name}" + (f",deepseek.dev/role={role}" if role else "")
        return [
            pod
            for pod in self.kubectl.items("pods", selector=selector)
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def worker_pods(self, name: str) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.pods(name, role="worker"))

    def worker_pods_ever(self, name: str) -> int:
        """Of all incarnations, from the scheduler's Events: they outlive the pods."""
        reason = ("--field-selector", "reason=Scheduled")
        listed = json.loads(self.kubectl.run("get", "events", *reason, "-o", "json"))["items"]
        names = {event["involvedObject"]["name"] for event in listed}
        return sum(pod.startswith(f"dsjob-{name}-worker-") for pod in names)

    def coordinator_pod(self, name: str) -> str:
        (pod,) = [p for p in self.pods(name, role="coordinator") if p["status"]["phase"] == "Running"]
        return str(pod["metadata"]["name"])

    def wait_for_condition(
        self,
        name: str,
        kind_of_condition: str,
        *,
        kind: str = "dsjob",
        status: str = "True",
        reason: str = "",
        deadline_seconds: float = 120,
    ) -> Object:
        def holds(resource: Object) -> bool:
            found = condition(resource, kind_of_condition)
            return found["status"] == status and reason in ("", found["reason"])

        return wait_until(
            lambda: self.get(kind, name),
            holds=holds,
            what=f"{kind}/{name}: condition {kind_of_condition}={status} {reason}",
            deadline_seconds=deadline_seconds,
            give_up=lambda seen: "" if holds(seen) or not is_finished(seen) else conditions_in_words(seen),
            describe=conditions_in_words,
        )

    def wait_until_finished(self, name: str, *, kind: str = "dsjob", deadline_seconds: float = 300) -> Object:
        return wait_until(
            lambda: self.get(kind, name),
            holds=is_finished,
            what=f"{kind}/{name} to finish",
            deadline_seconds=deadline_seconds,
            describe=conditions_in_words,
        )

    def wait_for_step(self, name: str, step: int, *, deadline_seconds: float = 180) -> Object:
        """Until status.step has reached it. Raises at once where the job ends before."""

        def reached(job: Object) -> bool:
            return int(job.get("status", {}).get("step", 0)) >= step

        return wait_until(
            lambda: self.get("dsjob", name),
            holds=reached,
            what=f"dsjob/{name} to reach step {step}",
            deadline_seconds=deadline_seconds,
            give_up=lambda job: conditions_in_words(job) if is_finished(job) and not reached(job) else "",
            describe=lambda job: f"step {job.get('status', {}).get('step')}; {conditions_in_words(job)}",
        )

    # what it left
    def history(self, name: str) -> RunHistory:
        return read_history(self.bucket, self.job_uri(name))

    def evaluation(self, name: str) -> dict[str, float]:
        listed = self.get("dsjob", name)["status"]["evaluation"]
        return {entry["name"]: float(entry["value"]) for entry in listed}

    # faults
    def kill_operator(self) -> None:
        """Both replicas at once, without grace."""
        system = self.kubectl.in_namespace(OPERATOR_NAMESPACE)
        system.run(
            "delete",
            "pods",
            "--selector=app.kubernetes.io/name=deepseek-operator",
            "--grace-period=0",
            "--force",
        )


def without_nulls(value: Any) -> Any:
    """A change takes a field away by setting it to None."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def substitute(value: Any, **names: str) -> Any:
    """`value` with the words replaced in every string of it."""
    text = json.dumps(value)
    for word, replacement in names.items():
        text = text.replace(word, replacement)
    return json.loads(text)


# setting up
def install(cluster: Cluster, *, cache: Path, work: Path, say: Callable[[str], None]) -> Platform:
    """Images, S3 server, chart, namespace and credentials."""
    started = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - started:6.1f} s  {text}")

    builder = image_builder(cache)
    tell("building the images (log: " + str(builder.settings.log) + ")")
    built = builder.build()
    tell("loading the images")
    load(cluster, built.operator, builder)
    load(cluster, built.worker, builder)
    tell("the S3 server")
    archive = work / "object-store.tar"
    object_store.write_image_archive(archive)
    cluster.load_image_archive(archive)
    demo_kubectl = DemoKubectl(command=(str(cluster.kubectl),), log=work / "kubectl.log")
    store = object_store.install_object_store(
        demo_kubectl, object_store.Installation(volume=cluster.volumes_dir / "object-store"), say=tell
    )
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig, NAMESPACE)
    tell("the operator")
    install_chart(cluster, operator=built.operator.ref, worker=built.worker.ref)
    bucket = _tenant(kubectl, store)
    tell("ready")
    return Platform(cluster=cluster, kubectl=kubectl, store=store, bucket=bucket)


def image_builder(cache: Path) -> Builder:
    return Builder(
        ImageSettings(
            root=ROOT, cache=cache / "images", requirements_cache=cache / "uv", certificates=_certificates()
        )
    )


def install_chart(cluster: Cluster, *, operator: str, worker: str) -> None:
    repository, tag = operator.rsplit(":", 1)
    command = [
        str(cluster.helm),
        "upgrade",
        "--install",
        "deepseek-operator",
        str(ROOT / "charts/deepseek-operator"),
        "--kubeconfig",
        str(cluster.kubeconfig),
        "--namespace",
        OPERATOR_NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "180s",
    ]
    values = {"image.repository": repository, "image.tag": tag, "worker.image": worker}
    for name, value in values.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"helm: {done.stderr}"


def _tenant(kubectl: Kubectl, store: object_store.ObjectStore) -> Bucket:
    """A namespace that enforces `restricted`, and an account that may use one bucket."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )
    account = object_store.Credentials.generate(NAMESPACE)
    store.create_bucket(BUCKET)
    store.create_user(account)
    store.allow(account.access_key, bucket=BUCKET)
    kubectl.apply(
        object_store.secret(
            "s3-credentials",
            namespace=NAMESPACE,
            data={"AWS_ACCESS_KEY_ID": account.access_key, "AWS_SECRET_ACCESS_KEY": account.secret_key},
        )
    )
    return Bucket(store.host_endpoint_url, account.access_key, account.secret_key)


def _certificates() -> Path | None:
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    return bundle if bundle.exists() else None


__all__ = ["Platform", "image_builder", "install", "merged", "substitute"]
