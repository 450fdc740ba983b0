"""The certificates and kubeconfigs of one cluster, by openssl. It does not know who uses which."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_kubernetes.commands import run
from local_kubernetes.settings import Network, Paths, Settings

_DAYS = "365"
# User name of each client -> its groups.
CLIENTS: Mapping[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "kwok": ("system:masters",),
    "kube-apiserver-kubelet-client": ("system:masters",),
    "front-proxy": (),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
    "system:kube-proxy": (),
    "local-kubernetes:network-policy": (),
}


def create_pki(settings: Settings, network: Network) -> None:
    """Writes every key, certificate and kubeconfig of the cluster."""
    paths = Paths(settings.state_dir)
    paths.pki.mkdir(parents=True)
    paths.pki.chmod(0o700)
    _authority(paths.pki)
    _service_account_keys(paths.pki)
    _issue(paths.pki, "kube-apiserver", subject="/CN=kube-apiserver", names=_api_names(network))
    for user, groups in CLIENTS.items():
        _issue(paths.pki, file_name(user), subject="".join(f"/O={group}" for group in groups) + f"/CN={user}")
    for node in settings.node_names:
        names = [f"DNS:{node}", f"IP:{network.node_address(node)}"]
        subject = f"/O=system:nodes/CN=system:node:{node}"
        _issue(paths.pki, file_name(f"system:node:{node}"), subject=subject, names=names)
    users = [*CLIENTS, *(f"system:node:{node}" for node in settings.node_names)]
    for user in users:
        _write_kubeconfig(paths, user, server=network.api_url(settings.mode), cluster=settings.name)


def file_name(user: str) -> str:
    """The stem of a user's files: colons do not go well with every tool."""
    return user.replace(":", "-")


def _api_names(network: Network) -> list[str]:
    service = "kubernetes.default.svc"
    hosts = ["localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local"]
    addresses = ["127.0.0.1", network.loopback, network.host_address, network.kubernetes_service]
    return [*(f"DNS:{host}" for host in hosts), *(f"IP:{address}" for address in addresses)]


def _authority(folder: Path) -> None:
    run(["openssl", "req", "-x509", *_new_key(folder / "ca.key"), "-out", folder / "ca.crt", "-days", _DAYS,
         "-subj", "/CN=local-kubernetes", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])  # fmt: skip


def _service_account_keys(folder: Path) -> None:
    key = folder / "service-accounts.key"
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key])
    run(["openssl", "pkey", "-in", key, "-pubout", "-out", folder / "service-accounts.pub"])


def _issue(folder: Path, name: str, *, subject: str, names: Sequence[str] = ()) -> None:
    """One certificate for both sides of TLS: a kubelet is a server and a client."""
    extensions = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth,clientAuth",
                  "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    if names:
        extensions.append(f"subjectAltName={','.join(names)}")
    added = [part for extension in extensions for part in ("-addext", extension)]
    run(["openssl", "req", "-x509", *_new_key(folder / f"{name}.key"), "-out", folder / f"{name}.crt",
         "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-days", _DAYS, "-subj", subject,
         *added])  # fmt: skip


def _new_key(path: Path) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(path)]


def _write_kubeconfig(paths: Paths, user: str, *, server: str, cluster: str) -> None:
    def embedded(name: str) -> str:
        return base64.b64encode((paths.pki / name).read_bytes()).decode()

    stem = file_name(user)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": embedded(f"{stem}.crt"),
                    "client-key-data": embedded(f"{stem}.key"),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    target = paths.kubeconfig(stem)
    target.parent.mkdir(exist_ok=True)
    target.touch(mode=0o600)
    # JSON is YAML, and needs no library here.
    target.write_text(json.dumps(document, indent=2))
