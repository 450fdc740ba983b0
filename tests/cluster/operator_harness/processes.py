"""Operator processes with the rights of a service account, and the objects of the rendered chart."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from harness.kubectl import Kubectl, Object
from harness.waiting import wait_until

REPOSITORY = Path(__file__).parents[3]
OPERATOR_NAMESPACE = "deepseek-system"
SERVICE_ACCOUNT = "deepseek-operator"
KEY_SECRET = "deepseek-operator-key"
DEADLINE = 180.0  # seconds, for a machine that does other things too


@dataclass
class OperatorProcess:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Without a chance to say anything."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@dataclass
class Operators:
    """Operator processes that share one Lease, each with the rights of the chart's service account."""

    admin: Kubectl
    environment: Mapping[str, str]
    logs: Path
    lease: str = "deepseek-operator"
    processes: list[OperatorProcess] = field(default_factory=list)

    def start(self, **environment: str) -> OperatorProcess:
        number, port = len(self.processes) + 1, _free_port()
        name, log = f"{self.lease}-{number}", self.logs / f"{self.lease}-{number}.log"
        given = {"DEEPSEEK_OPERATOR_NAME": name, "DEEPSEEK_HTTP_PORT": str(port), **environment}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "deepseek_operator", "run"],
                env={**self.environment, **given, "DEEPSEEK_LEASE_NAME": self.lease},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(OperatorProcess(name, process, log, port))
        return self.processes[-1]

    def holder(self) -> str:
        lease = self.admin.in_namespace(OPERATOR_NAMESPACE).get("lease", self.lease)
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    def leader(self) -> OperatorProcess | None:
        holder = self.holder()
        return next((each for each in self.processes if each.name == holder and each.alive), None)

    def wait_for_leader(self) -> OperatorProcess:
        leader = wait_until(
            self.leader, holds=bool, what=f"a leader; logs in {self.logs}", deadline_seconds=DEADLINE
        )
        assert leader is not None
        return leader

    def end(self) -> None:
        for process in self.processes:
            if process.alive:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed(*kinds: str) -> list[Object]:
    """Objects of these kinds in the rendered chart."""
    documents = yaml.safe_load_all((REPOSITORY / "manifests" / "install.yaml").read_text())
    return [each for each in documents if each and each["kind"] in kinds]


def service_account_kubeconfig(admin: Kubectl, account: str, *, folder: Path) -> Path:
    token = admin.in_namespace(OPERATOR_NAMESPACE).run("create", "token", account, "--duration=2h").strip()
    config = yaml.safe_load(admin.kubeconfig.read_text())
    config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
    path = folder / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def role(account: str, *, namespace: str, rules: list[Object]) -> list[Object]:
    """A Role with these rules, bound to a service account of the operator's namespace."""
    metadata = {"name": account, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": account, "namespace": OPERATOR_NAMESPACE}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
            "subjects": [subject],
        },
    ]


def grant_operator_rules(admin: Kubectl, account: str, *, namespace: str) -> None:
    """What the chart lets the operator do in all namespaces, in one."""
    rules = next(each for each in installed("ClusterRole") if each["metadata"]["name"] == SERVICE_ACCOUNT)
    admin.in_namespace(namespace).apply(*role(account, namespace=namespace, rules=rules["rules"]))


def environment_of(admin: Kubectl, *, folder: Path) -> Mapping[str, str]:
    """Of a process with exactly the rights of the chart's service account; the operator's key is created."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DEEPSEEK_")},
        "PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY / 'workloads'}",
        "KUBECONFIG": str(service_account_kubeconfig(admin, SERVICE_ACCOUNT, folder=folder)),
        "DEEPSEEK_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
        "DEEPSEEK_HTTP_HOST": "127.0.0.1",
        "DEEPSEEK_WORKER_IMAGE": "registry.example/worker:1",
        "DEEPSEEK_NODE_LOST_SECONDS": "1",
        "DEEPSEEK_RESYNC_INTERVAL_SECONDS": "2",
        "DEEPSEEK_SHRINK_AFTER_SECONDS": "15",
        "DEEPSEEK_GROW_AFTER_SECONDS": "2",
    }
    create_key = [sys.executable, "-m", "deepseek_operator", "create-key"]
    subprocess.run(create_key, env=environment, check=True, timeout=60)
    secret = ("get", "secret", KEY_SECRET, "-o", "go-template={{.data.key | base64decode}}")
    key = admin.in_namespace(OPERATOR_NAMESPACE).run(*secret)
    return {**environment, "DEEPSEEK_OPERATOR_KEY": key}
