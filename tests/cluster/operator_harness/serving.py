"""A service on the API server, as its user and the coordinators of its clusters treat it."""

from dataclasses import dataclass
from typing import Any

from harness.kubectl import Kubectl, Object, condition
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import Progress, ServingProgress
from operator_harness.coordinator import Coordinator
from operator_harness.documents import revision_document, service_document
from operator_harness.kubelet import DEADLINE, Pods

NAME = "chat"


@dataclass(frozen=True)
class Service:
    """`chat` in a test's namespace."""

    kubectl: Kubectl
    pods: Pods

    def serve(self, revision: str, **spec: Any) -> None:
        """Records the revision and names it in the service, which is made where there is none."""
        self.kubectl.apply(revision_document(revision))
        self.kubectl.apply(service_document(NAME, model={"revisionRef": {"name": revision}}, **spec))

    def get(self) -> Object:
        return self.kubectl.get("dsserve", NAME) or {}

    def status(self) -> Object:
        return dict(self.get().get("status", {}))

    def active(self) -> str:
        return str((self.status().get("active") or {}).get("revision", ""))

    def pods_of(self, role: str, *, cluster: str) -> list[str]:
        selector = f"deepseek.dev/cluster={cluster},deepseek.dev/role={role}"
        found = self.kubectl.items("pods", selector=selector)
        return sorted(p["metadata"]["name"] for p in found if "deletionTimestamp" not in p["metadata"])

    def candidate(self, revision: str) -> str:
        """Waits for the cluster of this candidate, and for its coordinator; its id."""
        status = wait_until(
            self.status,
            holds=lambda seen: (
                (seen.get("candidate") or {}).get("revision") == revision
                and self.pods_of("coordinator", cluster=seen["candidate"]["clusterId"])
            ),
            what=f"candidate {revision}",
            deadline_seconds=DEADLINE,
        )
        return str(status["candidate"]["clusterId"])

    def say(self, revision: str, coordinator: Coordinator, *, checked: bool) -> str:
        """The candidate's coordinator answers from now on; the id of its cluster."""
        cluster = self.candidate(revision)
        serving = ServingProgress(checked=checked, bits_per_byte=2.0)
        coordinator.progress = Progress(phase="Serving" if checked else "Checking", serving=serving)
        (pod,) = self.pods_of("coordinator", cluster=cluster)
        self.pods.run(pod, ip=coordinator.address)
        return cluster

    def roll_out(self, revision: str, coordinator: Coordinator, **spec: Any) -> str:
        """Until the revision is active and nothing is left of the one before; the id of its cluster."""
        self.serve(revision, **spec)
        cluster = self.say(revision, coordinator, checked=True)
        self.wait_for_active(revision)
        return cluster

    def wait_for_active(self, revision: str) -> Object:
        def settled(status: Object) -> bool:
            active = (status.get("active") or {}).get("revision", "")
            return active == revision and not status.get("retired") and status.get("state") == "Serving"

        return wait_until(
            self.status, holds=settled, what=f"{revision} alone to serve", deadline_seconds=DEADLINE
        )

    def wait_for_condition(self, type_: str, status: str, reason: str) -> str:
        """The condition's message."""

        def holds(service: Object) -> bool:
            found = condition(service, type_)
            return (found["status"], found["reason"]) == (status, reason)

        what = f"dsserve {NAME} with {type_}={status} {reason}"
        service = wait_until(self.get, holds=holds, what=what, deadline_seconds=DEADLINE)
        return str(condition(service, type_)["message"])

    def selected(self) -> str:
        """The cluster that the stable Service leads to."""
        service = self.kubectl.get("service", NAME)
        assert service is not None
        return str(service["spec"]["selector"]["deepseek.dev/cluster"])

    def endpoints(self) -> set[str]:
        """Names of the pods that get requests."""
        slices = self.kubectl.items("endpointslices", selector=f"kubernetes.io/service-name={NAME}")
        return {e["targetRef"]["name"] for each in slices for e in each["endpoints"] or []}

    def objects(self) -> list[str]:
        """kind/name of all that was made for it."""
        kinds = ("pods", "configmaps", "secrets", "services", "networkpolicies", "poddisruptionbudgets")
        selector = f"deepseek.dev/name={NAME}"
        return [
            f"{kind}/{each['metadata']['name']}"
            for kind in kinds
            for each in self.kubectl.items(kind, selector=selector)
        ]
