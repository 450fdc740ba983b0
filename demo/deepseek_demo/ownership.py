"""Namespaces of the demo: marked when they are made, so that nobody else's are taken over or deleted."""

from collections.abc import Iterable
from typing import Final

from deepseek_demo.commands import StepFailed
from deepseek_demo.kubectl import Kubectl

LABEL: Final = "deepseek.dev/demo"
_MARKED: Final = "true"


def is_own(kubectl: Kubectl, name: str) -> bool:
    """Whether there is a namespace of that name that the demo made."""
    found = kubectl.get("namespace", name)
    return found is not None and (found["metadata"].get("labels") or {}).get(LABEL) == _MARKED


def require_own(kubectl: Kubectl, names: Iterable[str]) -> None:
    """Raises StepFailed when one of them exists and the demo did not make it."""
    foreign = [
        name for name in names if not is_own(kubectl, name) and kubectl.get("namespace", name) is not None
    ]
    if foreign:
        raise StepFailed(
            f"namespace {', '.join(foreign)}: exists, and has no label {LABEL}={_MARKED}: the demo would "
            "take it over, and `make demo-down` delete it with all its objects; choose a cluster without "
            "such namespaces, or, where it is the demo's after all: "
            f"kubectl label namespace {foreign[0]} {LABEL}={_MARKED}"
        )


def delete_own(kubectl: Kubectl, name: str) -> bool:
    """Deletes the namespace with all that is in it; False: there is none that the demo made."""
    if not is_own(kubectl, name):
        return False
    # Once more by the label: what was made in between under this name stays.
    selector = f"{LABEL}={_MARKED},kubernetes.io/metadata.name={name}"
    kubectl.run("delete", "namespace", "--selector", selector)
    return True
