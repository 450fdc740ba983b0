"""The control plane as host processes: etcd, API server, controller manager, scheduler, and what each is
told.

It does not know of nodes, but for how soon a silent one counts as dead.
"""

from collections.abc import Mapping
from pathlib import Path

from local_kubernetes import cgroups, daemons
from local_kubernetes.api import Api
from local_kubernetes.commands import wait_until
from local_kubernetes.daemons import Daemon
from local_kubernetes.pki import file_name
from local_kubernetes.settings import Network, Paths, Settings

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_READY_SECONDS = 120

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi/*", "/api", "/apis*"]
  # The controllers of the control plane: loud, and nobody's question.
  - {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
"""


def daemon(settings: Settings, program: str) -> Daemon:
    paths = Paths(settings.state_dir)
    return Daemon(
        name=program,
        group=cgroups.group_of(settings.name, "control-plane"),
        log=paths.logs / f"{program}.log",
        pid_file=paths.logs / f"{program}.pid",
    )


def start(settings: Settings, network: Network, *, kubernetes: Path, api: Api) -> None:
    """Starts all four and returns when the API server is ready. Raises LocalKubernetesError."""
    cgroups.create(cgroups.group_of(settings.name, "control-plane"))
    paths = Paths(settings.state_dir)
    paths.logs.mkdir(parents=True, exist_ok=True)
    (paths.state / "audit-policy.yaml").write_text(AUDIT_POLICY)
    commands = flags(settings, network)

    def launch(program: str) -> None:
        daemons.start(daemon(settings, program), [kubernetes, program, *commands[program]], cwd=paths.state)

    launch("etcd")
    launch("kube-apiserver")

    def neither_died() -> None:
        daemon(settings, "etcd").require_running()
        daemon(settings, "kube-apiserver").require_running()

    wait_until(api.is_ready, what="API server ready", seconds=_READY_SECONDS, still_possible=neither_died)
    # The controller manager gives up when the API server does not answer in its first ten seconds.
    launch("kube-controller-manager")
    launch("kube-scheduler")


def flags(settings: Settings, network: Network) -> Mapping[str, list[str]]:
    """Program -> its arguments."""
    paths = Paths(settings.state_dir)
    return {
        "etcd": _etcd(paths, network),
        "kube-apiserver": _api_server(settings, network),
        "kube-controller-manager": _controller_manager(paths),
        "kube-scheduler": [
            f"--kubeconfig={paths.kubeconfig(file_name('system:kube-scheduler'))}",
            "--leader-elect=false",
            "--secure-port=0",
        ],
    }


def _etcd(paths: Paths, network: Network) -> list[str]:
    client, peer = f"http://{network.loopback}:2379", f"http://{network.loopback}:2380"
    return [
        f"--data-dir={paths.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # The state is thrown away with the cluster: a power cut may take it.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(settings: Settings, network: Network) -> list[str]:
    paths = Paths(settings.state_dir)
    pki = paths.pki
    return [
        f"--etcd-servers=http://{network.loopback}:2379",
        f"--bind-address={network.api_address(settings.mode)}",
        "--secure-port=6443",
        # What pods reach as kubernetes.default.svc.
        f"--advertise-address={network.host_address}",
        f"--service-cluster-ip-range={network.service_cidr}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        f"--tls-cert-file={pki / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={pki / 'kube-apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'kube-apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kube-apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        # Webhooks and aggregated APIs are dialled by pod address: the host runs no kube-proxy.
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        # One authority signs all clients, so the front proxy must be told apart by its name.
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        "--default-not-ready-toleration-seconds=5",
        "--default-unreachable-toleration-seconds=5",
        f"--audit-policy-file={paths.state / 'audit-policy.yaml'}",
        f"--audit-log-path={paths.audit_log}",
        "--audit-log-maxsize=1000",
    ]


def _controller_manager(paths: Paths) -> list[str]:
    kubeconfig = paths.kubeconfig(file_name("system:kube-controller-manager"))
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={paths.pki / 'service-accounts.key'}",
        f"--root-ca-file={paths.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={paths.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={paths.pki / 'ca.key'}",
        # The default of 20 requests a second costs four seconds of every boot.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        # A dead node shows after 6 s in place of 40 s, and its pods go at once: tests wait for both.
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=6s",
        "--node-eviction-rate=10",
        "--secondary-node-eviction-rate=10",
        "--unhealthy-zone-threshold=1",
    ]
