"""What the environment can set of the demo. It decides nothing and touches nothing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepseek_demo.commands import StepFailed
from deepseek_demo.images import ImageSettings

LOCAL_CLUSTER = "demo"  # name of the local Kubernetes, apart from what `make cluster` boots
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class DemoSettings:
    """`registry` is where nodes of the current context pull images from; None is the local Kubernetes."""

    root: Path
    cache: Path
    requirements_cache: Path
    certificates: Path | None = None
    base_image: str | None = None
    registry: str | None = None

    @property
    def kubectl_log(self) -> Path:
        """What kubectl said."""
        return self.cache / "kubectl.log"

    @property
    def images(self) -> ImageSettings:
        """What building the images needs of it."""
        return ImageSettings(
            root=self.root,
            cache=self.cache / "images",
            requirements_cache=self.requirements_cache,
            certificates=self.certificates,
            base_image=self.base_image,
        )


def from_environ(environ: Mapping[str, str] = os.environ) -> DemoSettings:
    """From CLUSTER, IMAGE_REGISTRY, BASE_IMAGE and the usual cache variables. Raises StepFailed."""
    caches = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    certificates = Path(environ.get("SSL_CERT_FILE") or SYSTEM_CERTIFICATES)
    return DemoSettings(
        root=Path(__file__).resolve().parents[2],
        cache=caches / "deepseek-operator",
        requirements_cache=Path(environ.get("UV_CACHE_DIR") or caches / "uv"),
        certificates=certificates if certificates.is_file() else None,
        base_image=environ.get("BASE_IMAGE") or None,
        registry=_registry(environ),
    )


def _registry(environ: Mapping[str, str]) -> str | None:
    cluster, registry = environ.get("CLUSTER", "local"), environ.get("IMAGE_REGISTRY", "")
    if cluster not in ("local", "current"):
        raise StepFailed(
            f"CLUSTER={cluster!r}: must be local (a Kubernetes made here, the default) or current (the "
            "current kubectl context)"
        )
    if cluster == "local":
        return None
    if not registry:
        raise StepFailed(
            "CLUSTER=current without IMAGE_REGISTRY: the cluster's nodes must be able to pull the images; "
            "set IMAGE_REGISTRY to a registry that you may push to and they may pull from, for instance "
            "IMAGE_REGISTRY=registry.example.com/deepseek"
        )
    return registry
