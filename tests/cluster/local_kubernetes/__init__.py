"""A real Kubernetes on one machine without Docker: control plane and kubelets from Go modules, nodes as
namespaced process trees. Made for tests and demonstrations; it knows nothing of what runs in it.

    cluster = up(Settings(name="mine"))
    cluster.load_image_archive(Path("image.tar"))
    subprocess.run([cluster.kubectl, "get", "nodes"])
    down(cluster.settings.state_dir)
"""

from local_kubernetes.archives import StaticImage, write_static_archive
from local_kubernetes.build import binary
from local_kubernetes.cluster import Cluster, attach, down, image_store, up
from local_kubernetes.errors import InTheWayError, LocalKubernetesError
from local_kubernetes.settings import Settings

__all__ = [
    "Cluster",
    "InTheWayError",
    "LocalKubernetesError",
    "Settings",
    "StaticImage",
    "attach",
    "binary",
    "down",
    "image_store",
    "up",
    "write_static_archive",
]
