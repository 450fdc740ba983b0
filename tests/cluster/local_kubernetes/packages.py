"""The Debian packages that nodes and image builds need: installs those whose programs are missing."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from local_kubernetes.errors import LocalKubernetesError
from local_kubernetes.settings import ROOT
from local_kubernetes.slots import locked

# Program -> the Debian package that carries it.
NODE_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "ipset": "ipset",
    "iptables-restore": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "modprobe": "kmod",
}
CONTROL_PLANE_PROGRAMS = {"openssl": "openssl"}
IMAGE_PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap"}

_NO_STARTS = Path("/usr/sbin/policy-rc.d")
_LOCK = ROOT / "locks" / "packages"


def ensure(programs: dict[str, str]) -> None:
    """Installs what is missing; the services that packages bring are not started.

    Raises LocalKubernetesError on a machine without apt-get, or when it fails.
    """
    if _missing(programs):
        with locked(_LOCK):
            _install(programs)


def _install(programs: dict[str, str]) -> None:
    missing = sorted({programs[program] for program in _missing(programs)})
    if not missing:  # another process has installed them meanwhile
        return
    if shutil.which("apt-get") is None:
        raise LocalKubernetesError(
            f"not installed: {', '.join(missing)} (names of Debian packages), and this machine has no "
            "apt-get: install what carries these programs: " + ", ".join(_missing(programs))
        )
    _apt_get("update")
    wrote_policy = not _NO_STARTS.exists()
    if wrote_policy:
        _NO_STARTS.write_text("#!/bin/sh\nexit 101\n")
        _NO_STARTS.chmod(0o755)
    try:
        _apt_get("install", "--yes", "--no-install-recommends", *missing)
    finally:
        if wrote_policy:
            _NO_STARTS.unlink()
    still = _missing(programs)
    if still:
        raise LocalKubernetesError(f"{', '.join(missing)} installed, yet not found: {', '.join(still)}")


def _missing(programs: Iterable[str]) -> list[str]:
    return [program for program in programs if shutil.which(program) is None]


def _apt_get(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={
            "DEBIAN_FRONTEND": "noninteractive",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        },
    )
    if done.returncode != 0:
        raise LocalKubernetesError(
            f"apt-get {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout[-2000:]}"
        )
