"""Pods without Kubernetes: each is a process tree with its own PID, mount, network and UTS namespaces, a
read-only root, no capabilities, own /tmp and /dev/shm, and the supervisor as PID 1, as a kubelet starts it.

Needs root, as the local cluster does. All of it hangs on processes of this test run: it goes when they do.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import boto3
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.contract.messages import Control, Progress, Verdict
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.contract.run_config import (
    AnyRun,
    Checkpoint,
    Data,
    DatasetRun,
    Owner,
    RawSource,
    RunPolicy,
    ServedRevision,
    ServingRun,
    Source,
    Storage,
    TokenizerTraining,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.publish import Export, export_model
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from local_object_store.in_process import in_process_server

Answer = TypeVar("Answer")
REPOSITORY = Path(__file__).parents[4]
# Ends with this test run, whatever ends it; and with `unshare` its child, and so the namespaces.
UNSHARE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child"]
POLL_SECONDS = 0.05
# As PID 1 of the pod: mounts, then the wait for the interface that the parent moves in, then the supervisor.
POD_SCRIPT = """
set -eu
hostname "$POD_NAME"
mount --make-rprivate /
mount --bind "$POD_STATE/hosts" /etc/hosts
mount -t tmpfs tmpfs /mnt
mkdir /mnt/pod /mnt/dev
mount --bind "$POD_STATE" /mnt/pod
mount -t tmpfs tmpfs /mnt/dev
for node in null zero full random urandom tty; do
    touch /mnt/dev/$node
    mount --bind /dev/$node /mnt/dev/$node
done
ln -s /proc/self/fd /mnt/dev/fd
mkdir /mnt/dev/shm
mount -t tmpfs -o size=2g tmpfs /mnt/dev/shm
touch "$POD_STATE/termination-log" /mnt/dev/termination-log
mount --bind "$POD_STATE/termination-log" /mnt/dev/termination-log
mount --rbind /mnt/dev /dev
mount -t tmpfs -o size=4g tmpfs /tmp
mount -o remount,bind,ro /
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.01; done
ip addr add "$POD_IP/24" dev eth0
ip link set eth0 up
cd /
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""


def wait_for(what: str, condition: Callable[[], Answer | None], *, seconds: float) -> Answer:
    """Polls until the condition gives something true. Fails with the name of what did not come."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)


@dataclass
class Pod:
    name: str
    ip: str
    state: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Of the pod's PID 1, as the host sees it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    @property
    def log(self) -> str:
        return (self.state / "log").read_text(errors="replace")

    @property
    def termination_message(self) -> str:
        return (self.state / "termination-log").read_text()

    def processes(self) -> dict[int, str]:
        """Command lines of the pod's processes by the host's PID."""
        found: dict[int, str] = {}
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "ns/pid").readlink() == namespace:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def find(self, text: str) -> list[int]:
        return sorted(pid for pid, command in self.processes().items() if text in command)

    def kill(self, text: str) -> None:
        """SIGKILL to the pod's processes whose command line holds the text; there must be one."""
        pids = wait_for(f"{text} in {self.name}", lambda: self.find(text), seconds=60)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def power_cut(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, *, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} did not end within {seconds} s; its log ends:\n{self.log[-3000:]}")


@dataclass
class Network:
    """A bridge in a network namespace of its own, with one leg in ours."""

    namespace_pid: int  # of a process that holds it
    prefix: str  # 10.x.y
    used: int = 0

    @property
    def host_ip(self) -> str:
        return f"{self.prefix}.254"

    def attach(self, pid: int) -> str:
        """The name of the pod's port on the bridge."""
        self.used += 1
        port = f"port{self.used}"
        target = ["netns", str(self.namespace_pid)]
        run("ip", "link", "add", port, *target, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("nsenter", "-t", str(self.namespace_pid), "-n", "ip", "link", "set", port, "master", "pods", "up")
        return port

    def detach(self, port: str) -> None:
        """A dead pod's interface may outlive it for some seconds: its successor has the same address."""
        command = ["nsenter", "-t", str(self.namespace_pid), "-n", "ip", "link", "delete", port]
        subprocess.run(command, capture_output=True)  # it may also be gone already


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@dataclass
class PodSet:
    """The pods of one run, made as the operator would make them."""

    network: Network
    folder: Path
    run: AnyRun
    environ: dict[str, str]
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    pods: list[Pod] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    grace_seconds: int = 30
    first_address: int = 1  # of the coordinator; the workers' follow

    @property
    def coordinator_ip(self) -> str:
        return f"{self.network.prefix}.{self.first_address}"

    def coordinator(self, *, incarnation: int = 0) -> Pod:
        return self._start(environment.ROLE_COORDINATOR, 0, incarnation, address=0)

    def worker(self, index: int, *, incarnation: int = 0) -> Pod:
        return self._start(environment.ROLE_WORKER, index, incarnation, address=9 + 20 * incarnation + index)

    def progress(self) -> Progress | None:
        try:
            url = f"http://{self.coordinator_ip}:{environment.COORDINATOR_PORT}/progress"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return Progress.model_validate_json(answer.read())
        except OSError:
            return None

    def ready(self) -> bool:
        try:
            url = f"http://{self.coordinator_ip}:{environment.COORDINATOR_PORT}/readyz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def control(self, control: Control) -> None:
        url = f"http://{self.coordinator_ip}:{environment.COORDINATOR_PORT}/control"
        headers = {"Authorization": f"Bearer {self.token}"}
        urllib.request.urlopen(urllib.request.Request(url, control.to_json(), headers), timeout=5).close()

    def start_all(self) -> tuple[Pod, list[Pod]]:
        """Workers once the coordinator is ready, as the operator does."""
        coordinator = self.coordinator()
        wait_for("preflight", self.ready, seconds=120)
        return coordinator, [self.worker(index) for index in range(self.run.workers.num_nodes)]

    def wait_for_step(self, step: int, *, seconds: float) -> Progress:
        return self.wait_for_progress(f"step {step}", lambda now: now.step >= step, seconds=seconds)

    def wait_for_progress(
        self, what: str, condition: Callable[[Progress], bool], *, seconds: float
    ) -> Progress:
        def reached() -> Progress | None:
            ended = [pod for pod in self.pods if pod.process.poll() is not None]
            if len(ended) == len(self.pods):
                pytest.fail(f"all pods have ended: {ended[0].termination_message}")
            progress = self.progress()
            return progress if progress is not None and condition(progress) else None

        return wait_for(what, reached, seconds=seconds)

    def verdict(self, coordinator: Pod, *, seconds: float = 180) -> Verdict:
        coordinator.wait(seconds=seconds)
        return Verdict.model_validate_json(coordinator.termination_message)

    def _start(self, role: str, index: int, incarnation: int, *, address: int) -> Pod:
        name = f"dsjob-test-{role}-{f'{index}-' if role == environment.ROLE_WORKER else ''}{incarnation}"
        state = self.folder / name
        state.mkdir()
        ip = f"{self.network.prefix}.{self.first_address + address}"
        (state / "run-config.json").write_bytes(self.run.to_json())
        (state / "hosts").write_text(
            f"127.0.0.1 localhost\n{ip} {name}\n{self.coordinator_ip} coordinator.test.svc\n"
        )
        (state / "pod.sh").write_text(POD_SCRIPT)
        environ = {
            **self.environ,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(
                [str(REPOSITORY / "workloads"), self.environ.get("PYTHONPATH", "")]
            ),
            "PYTHONUNBUFFERED": "1",
            "HOME": "/tmp",
            "POD_STATE": str(state),
            environment.ROLE: role,
            environment.POD_NAME: name,
            environment.POD_IP: ip,
            environment.WORKER_INDEX: str(index),
            environment.INCARNATION: str(incarnation),
            environment.COORDINATOR_HOST: "coordinator.test.svc",
            environment.JOB_TOKEN: self.token,
            environment.TERMINATION_GRACE_SECONDS: str(self.grace_seconds),
            environment.RUN_CONFIG_PATH: "/mnt/pod/run-config.json",
        }
        command = [
            *UNSHARE,
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--mount-proc",
            "bash",
            str(state / "pod.sh"),
        ]
        supervisor = [sys.executable, "-m", "deepseek_workloads.supervise"]
        with (state / "log").open("wb") as log:
            process = subprocess.Popen([*command, *supervisor], env=environ, stdout=log, stderr=log)
        pod = Pod(name, ip, state, process)
        self.pods.append(pod)
        wait_for(f"PID 1 of {name}", lambda: _first_child(process.pid), seconds=10)
        self.ports.append(self.network.attach(pod.pid))
        return pod

    def close(self) -> None:
        for pod in self.pods:
            pod.process.kill()  # --kill-child: its whole tree goes with it
            pod.process.wait()
        for port in self.ports:
            self.network.detach(port)


def _first_child(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip() or None
    except OSError:
        return None


@pytest.fixture(scope="session")
def pod_network() -> Iterator[Network]:
    octet = 64 + os.getpid() % 128
    leg = f"dspods{os.getpid() % 100000}"
    script = "ip link set lo up && ip link add pods type bridge && ip link set pods up && exec sleep infinity"
    holder = subprocess.Popen([*UNSHARE, "--net", "bash", "-c", script])
    inner = int(wait_for("the bridge's namespace", lambda: _first_child(holder.pid), seconds=10))
    network = Network(inner, f"10.{octet}.77")
    nsenter = ["nsenter", "-t", str(inner), "-n", "ip", "link"]
    wait_for(
        "the bridge",
        lambda: subprocess.run([*nsenter, "show", "pods", "up"], capture_output=True).stdout,
        seconds=10,
    )
    run("ip", "link", "add", leg, "type", "veth", "peer", "name", "host", "netns", str(inner))
    run(*nsenter, "set", "host", "master", "pods", "up")
    run("ip", "addr", "add", f"{network.host_ip}/24", "dev", leg)
    run("ip", "link", "set", leg, "up")
    yield network
    holder.kill()
    holder.wait()


def training_records(pod: Pod) -> list[dict[str, object]]:
    """The JSON lines of a pod's log that training has written."""
    records = []
    for line in pod.log.splitlines():
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record.get("component") != "supervisor":
                records.append(record)
    return records


# ---- storage and data


@pytest.fixture(scope="session")
def s3_endpoint(pod_network: Network) -> Iterator[str]:
    """An S3 server that the pods reach, with a bucket `models`."""
    with in_process_server(ip_address=pod_network.host_ip) as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **_boto_keys())
        client.create_bucket(Bucket="models")
        yield endpoint


CREDENTIALS = {environment.AWS_ACCESS_KEY_ID: "test", environment.AWS_SECRET_ACCESS_KEY: "test"}


def _boto_keys() -> dict[str, str]:
    return {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def connect(storage: Storage) -> ObjectStore:
    return open_store(storage, environ=CREDENTIALS)


@pytest.fixture(scope="session")
def raw_text(s3_endpoint: str) -> Storage:
    """Small documents, each another one."""
    storage = Storage(uri="s3://models/raw", endpoint_url=s3_endpoint)
    words = [
        "the",
        "model",
        "reads",
        "a",
        "token",
        "and",
        "guesses",
        "which",
        "token",
        "may",
        "follow",
        "it",
        "in",
        "the",
        "text",
    ]
    with closing(connect(storage)) as store:
        for number in range(40):
            text = " ".join(words[(number * 7 + at * (1 + number % 5)) % len(words)] for at in range(400))
            store.put(f"{number:02d}.txt", f"Document {number}. {text}".encode())
    return storage


def dataset_run(raw: Storage, name: str) -> DatasetRun:
    return DatasetRun(
        owner=Owner(namespace="test", name=name, uid=f"uid-{name}"),
        raw_sources=[RawSource(name="text", uri=raw.uri)],
        raw_storage=raw,
        tokenizer=TokenizerTraining(vocab_size=300),
        held_out_fraction=0.1,
        workers=Workers(num_nodes=1),
        storage=raw.model_copy(update={"uri": f"s3://models/{name}"}),
    )


@pytest.fixture
def make_dataset_run(raw_text: Storage) -> Callable[[str], DatasetRun]:
    return lambda name: dataset_run(raw_text, name)


@pytest.fixture(scope="session")
def dataset(raw_text: Storage) -> Source:
    """Prepared in this process."""
    run = dataset_run(raw_text, "prepared-here")
    verdict = prepare(run, open_store=connect, executor=LocalExecutor(), report=lambda _: None)
    assert verdict.outcome == "Succeeded", verdict
    return Source(name="docs", storage=run.storage, digest=verdict.digest)


ARCHITECTURE = Architecture(
    vocab_size=304,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    max_position_embeddings=64,
    moe=MoE(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
)


def small_training_run(source: Source, storage: Storage, name: str) -> TrainingRun:
    """Two ranks and many more steps than a test waits for."""
    return TrainingRun(
        owner=Owner(namespace="test", name=name, uid=f"uid-{name}"),
        architecture=ARCHITECTURE,
        data=Data(sources=[source], sequence_length=32, seed=7),
        training=Training(steps=1_000_000, global_batch_size=4),
        checkpoint=Checkpoint(every_steps=10),
        workers=Workers(num_nodes=2),
        storage=storage,
        run_policy=RunPolicy(backoff_limit=20, drain_seconds=25),
    )


@pytest.fixture
def training_run(dataset: Source, request: pytest.FixtureRequest) -> TrainingRun:
    """With storage of its own on S3."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[-40:]
    return small_training_run(
        dataset, dataset.storage.model_copy(update={"uri": f"s3://models/{name}"}), name
    )


@pytest.fixture
def folder_run(tmp_path: Path) -> TrainingRun:
    """With dataset and storage in a folder; one node of two ranks."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(10):
        (raw / f"{number}.txt").write_text(" ".join(f"word{(number * at) % 50}" for at in range(500)))
    prepared = dataset_run(Storage(uri=raw.as_uri()), "folder").model_copy(
        update={"storage": Storage(uri=(tmp_path / "dataset").as_uri())}
    )
    verdict = prepare(prepared, open_store=open_store, executor=LocalExecutor(), report=lambda _: None)
    assert verdict.outcome == "Succeeded", verdict
    source = Source(name="text", storage=prepared.storage, digest=verdict.digest)
    run = small_training_run(source, Storage(uri=(tmp_path / "run").as_uri()), "folder")
    return run.model_copy(update={"workers": Workers(num_nodes=1, num_proc_per_node=2)})


@pytest.fixture(scope="session")
def new_pod_set(
    pod_network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[AnyRun, int], PodSet]:
    """For fixtures that several tests share, which close it themselves. Two sets need addresses apart."""

    def make(run: AnyRun, first_address: int) -> PodSet:
        environ = {**CREDENTIALS, "OMP_NUM_THREADS": "1"}
        folder = tmp_path_factory.mktemp("pods")
        return PodSet(pod_network, folder, run, environ, first_address=first_address)

    return make


@pytest.fixture
def pod_set(pod_network: Network, tmp_path: Path) -> Iterator[Callable[..., PodSet]]:
    """Makes the pods of a run; they are gone after the test."""
    made: list[PodSet] = []

    def make(run: AnyRun) -> PodSet:
        made.append(PodSet(pod_network, tmp_path, run, {**CREDENTIALS, "OMP_NUM_THREADS": "1"}))
        return made[-1]

    yield make
    for pods in made:
        pods.close()


# ---- served exports


def write_export(root: Storage, *, provenance: Provenance, seed: int) -> Export:
    """A random model with a byte-level tokenizer, and a little held-out text, as a job would export them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    text = "The model reads a token and guesses which token may follow it; 模型读一个词元。\n"
    tokenizer.train_from_iterator([text] * 20, trainer)
    model = DeepseekV3ForCausalLM(SERVED_ARCHITECTURE)
    model.init_weights(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" not in name and not name.endswith("bias"):
                tensor *= 5  # so that the next token is not the same for every prompt
    with closing(connect(root)) as store:
        return export_model(
            store,
            state=model.state_dict(),
            architecture=SERVED_ARCHITECTURE,
            tokenizer=ExportTokenizer(tokenizer.to_str().encode(), bos_token_id=0, eos_token_id=1),
            provenance=provenance,
            evaluation={},
            held_out=[text],
        )


SERVED_ARCHITECTURE = ARCHITECTURE.model_copy(update={"max_position_embeddings": 512})


def serving_run_of(export: Export, storage: Storage, **changes: object) -> ServingRun:
    run = ServingRun(
        owner=Owner(namespace="test", name="chat", uid="uid-chat"),
        served_model_name="chat",
        revision=ServedRevision(
            name="chat-1",
            uid="uid-rev",
            storage=storage.model_copy(update={"uri": export.uri}),
            digest=export.digest,
        ),
        workers=Workers(num_nodes=1),
    )
    return run.model_copy(update=changes)


@pytest.fixture(scope="session")
def make_serving_run(s3_endpoint: str, provenance: Provenance) -> Callable[..., ServingRun]:
    """Of a model that is exported for it."""

    def make(name: str, *, seed: int = 11, **changes: object) -> ServingRun:
        storage = Storage(uri=f"s3://models/{name}", endpoint_url=s3_endpoint)
        export = write_export(storage, provenance=provenance, seed=seed)
        return serving_run_of(export, storage, **changes)

    return make
