"""The operator as its users install it: the Helm chart, with the images of this tree."""

import json
import tempfile
from pathlib import Path

from deepseek_demo.commands import StepFailed, run
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store import namespace
from deepseek_demo.ownership import delete_own, is_own

RELEASE = "deepseek-operator"
NAMESPACE = "deepseek-system"
_READY_SECONDS = 240


def install(
    kubectl: Kubectl, helm: tuple[str, ...], *, chart: Path, operator_image: str, worker_image: str, log: Path
) -> None:
    """Install or upgrade the release and wait until its pods are ready. Raises StepFailed."""
    kubectl.apply([namespace(NAMESPACE)])
    values = {"image": _image(operator_image), "worker": {"image": worker_image}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        target = [RELEASE, str(chart), "--namespace", NAMESPACE, "--values", file.name]
        try:
            run([*helm, "upgrade", "--install", *target, "--wait", f"--timeout={_READY_SECONDS}s"], log=log)
        except StepFailed as error:
            look_at = f"{' '.join(kubectl.command)} -n {NAMESPACE} describe pods"
            raise StepFailed(
                f"the operator did not become ready: {error}\nlook at: {look_at}", log=log
            ) from error


def remove(kubectl: Kubectl, helm: tuple[str, ...], *, log: Path) -> bool:
    """Remove the release and its namespace; the kinds stay while any resource of them is left.

    False, and nothing is removed: the namespace is not one that the demo made.
    """
    if not is_own(kubectl, NAMESPACE):
        return False
    run([*helm, "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait"], log=log)
    delete_own(kubectl, NAMESPACE)
    for definition in kubectl.text("get", "crd", "--output", "name").split():
        name = definition.rpartition("/")[2]
        if name.endswith(".deepseek.dev") and not _resources(kubectl, name):
            kubectl.run("delete", "crd", name)
    return True


def _image(ref: str) -> dict[str, str]:
    """The chart's value `image`, from repository@sha256:... or repository:tag."""
    repository, separator, digest = ref.partition("@")
    if separator:
        return {"repository": repository, "digest": digest}
    repository, _, tag = ref.rpartition(":")
    return {"repository": repository, "tag": tag}


def _resources(kubectl: Kubectl, definition: str) -> list[str]:
    return kubectl.text("get", definition, "--all-namespaces", "--output", "name").split()
