"""A service on a real API server: rollouts, revisions that are no good, and an operator that is killed."""

import json
from typing import Any

import pytest
from harness.kubectl import Kubectl, KubectlError
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import Verdict
from operator_harness.documents import revision_document, service_document

DEADLINE = 180.0


def test_a_revision_is_rolled_out_beside_the_active_one_and_replaces_it(
    operator: Any, kubectl: Kubectl, service: Any, new_coordinator: Any
) -> None:
    """Under Pod Security `restricted`, which the namespace enforces."""
    first = service.roll_out("r1", new_coordinator())
    old = set(service.pods_of("worker", cluster=first))
    assert service.endpoints() == old
    header, row = kubectl.run("get", "dsserve", "chat").splitlines()
    assert header.split() == ["NAME", "ACTIVE", "CANDIDATE", "READY", "URL", "AGE"]
    assert row.split()[:3] == ["chat", "r1", "2/2"]
    assert f"http://chat.{kubectl.namespace}.svc:8000" in row

    service.serve("r2")
    second = service.say("r2", new_coordinator(), checked=False)
    service.wait_for_condition("Progressing", "True", "Checking")
    assert service.endpoints() == old
    assert service.selected() == first

    service.say("r2", new_coordinator(), checked=True)
    status = service.wait_for_active("r2")
    assert service.endpoints() == set(service.pods_of("worker", cluster=second))
    assert [each["revision"] for each in status["history"]] == ["r2", "r1"]
    wait_until(
        service.objects,
        holds=lambda objects: not [each for each in objects if first in each],
        what="nothing of the first cluster, which only its ConfigMap owned",
        deadline_seconds=DEADLINE,
    )
    told = [event["reason"] for event in kubectl.events("chat")]
    assert (told.count("RevisionChecked"), told.count("Switched")) == (2, 2)


def test_a_revision_that_fails_its_check_or_hangs_gets_no_request(
    operator: Any, kubectl: Kubectl, service: Any, pods: Any, new_coordinator: Any
) -> None:
    first = service.roll_out("r1", new_coordinator())
    serving = set(service.pods_of("worker", cluster=first))

    service.serve("r2")
    second = service.candidate("r2")
    verdict = Verdict(outcome="Failed", reason="CheckFailed", message="2.9 bits per byte, r1 has 2.0")
    pods.finish(service.pods_of("coordinator", cluster=second)[0], exit_code=1, verdict=verdict)
    message = service.wait_for_condition("RevisionFailed", "True", "CheckFailed")
    assert "2.9 bits per byte" in message
    assert "r1 goes on serving" in message

    service.serve("r3", rollout={"progressDeadlineSeconds": 3})
    message = service.wait_for_condition("RevisionFailed", "True", "ProgressDeadlineExceeded")
    assert "revision r3" in message
    wait_until(
        lambda: [pod for pod in pods.active() if first not in pod],
        holds=lambda left: not left,
        what="the nodes of the failed revisions to be free",
        deadline_seconds=DEADLINE,
    )
    assert service.endpoints() == serving
    assert service.active() == "r1"


def test_replicas_follow_the_spec_a_lost_one_is_replaced_and_deletion_leaves_nothing(
    operator: Any, kubectl: Kubectl, service: Any, coordinator: Any
) -> None:
    cluster = service.roll_out("r1", coordinator, replicas={"min": 1, "max": 3})

    def wait_for_replicas(number: int, *, without: str = "") -> list[str]:
        def holds(status: Any) -> bool:
            names = service.endpoints()
            return status["ready"] == f"{number}/{number}" and len(names) == number and without not in names

        what = f"{number} replicas"
        wait_until(service.status, holds=holds, what=what, deadline_seconds=DEADLINE)
        return sorted(service.endpoints())

    kubectl.patch("dsserve", "chat", {"spec": {"replicas": {"min": 3, "max": 3}}})
    lost = wait_for_replicas(3)[1]
    kubectl.delete("pod", lost, "--wait=false")
    wait_for_replicas(3, without=lost)
    kubectl.patch("dsserve", "chat", {"spec": {"replicas": {"min": 1}}})
    wait_for_replicas(1)
    assert service.status()["active"]["clusterId"] == cluster

    kubectl.delete("dsserve", "chat", "--wait=true")  # no finalizer holds it
    wait_until(
        service.objects, holds=lambda left: not left, what="nothing of the service", deadline_seconds=DEADLINE
    )


def test_what_somebody_deleted_or_bent_of_a_settled_service_is_put_right(
    operator: Any, kubectl: Kubectl, service: Any, coordinator: Any
) -> None:
    """No watch tells of Services and policies: the operator looks again by itself."""
    cluster = service.roll_out("r1", coordinator)
    kinds = ("networkpolicies/", "poddisruptionbudgets/")
    serving, policies = service.endpoints(), [each for each in service.objects() if each.startswith(kinds)]
    assert {each.split("/")[0] + "/" for each in policies} == set(kinds)
    kubectl.delete("service", "chat")
    kubectl.run("delete", "networkpolicies,poddisruptionbudgets", "--all")
    wait_until(
        lambda: kubectl.get("service", "chat") and service.endpoints(),
        holds=lambda endpoints: endpoints == serving,
        what="the deleted Service to lead to the replicas again",
        deadline_seconds=DEADLINE,
    )
    for selector in ({"team": "mine"}, {"deepseek.dev/cluster": "stale"}):
        kubectl.patch("service", "chat", {"spec": {"selector": selector}})
        wait_until(
            lambda: (kubectl.get("service", "chat") or {})["spec"]["selector"],
            holds=lambda found: found.get("deepseek.dev/cluster") == cluster and "team" not in found,
            what="the selector to be put right",
            deadline_seconds=DEADLINE,
        )
    wait_until(
        service.objects,
        holds=lambda objects: set(policies) <= set(objects),
        what="the policies and the budget of the cluster that serves",
        deadline_seconds=DEADLINE,
    )
    assert service.active() == "r1"


def test_a_drain_takes_one_replica_and_waits_for_its_replacement(
    operators: Any, operator: Any, kubectl: Kubectl, service: Any, coordinator: Any
) -> None:
    """While there is no operator, nothing is replaced: the budget holds by itself."""
    cluster = service.roll_out("r1", coordinator)
    (name,) = (name for kind, name in (o.split("/") for o in service.objects()) if "budget" in kind)

    def wait_for_budget() -> None:
        """As Kubernetes' own controller reckons it."""
        wait_until(
            lambda: (kubectl.get("poddisruptionbudget", name) or {}).get("status", {}),
            holds=lambda status: (status.get("currentHealthy"), status.get("disruptionsAllowed")) == (2, 1),
            what="a budget of one disruption",
            deadline_seconds=DEADLINE,
        )

    wait_for_budget()
    first, second = service.pods_of("worker", cluster=cluster)
    operators.leader().kill()
    evict(kubectl, first)
    with pytest.raises(KubectlError, match="disruption budget"):
        evict(kubectl, second)
    operators.start()
    wait_until(
        service.endpoints,
        holds=lambda found: len(found) == 2 and first not in found,
        what="the replacement to answer",
        deadline_seconds=DEADLINE,
    )
    wait_for_budget()
    evict(kubectl, second)

    kubectl.patch("dsserve", "chat", {"spec": {"replicas": {"min": 1}}})
    wait_until(
        lambda: (kubectl.get("poddisruptionbudget", name) or {})["spec"]["minAvailable"],
        holds=lambda left: left == 0,
        what="a budget that lets the only replica go",
        deadline_seconds=DEADLINE,
    )


def evict(kubectl: Kubectl, pod: str) -> None:
    """As `kubectl drain` does. Raises KubectlError while the budget is spent."""
    document = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(document))


def test_more_gpus_than_there_are_are_told_in_the_schedulers_words(
    operator: Any, kubectl: Kubectl, service: Any
) -> None:
    service.serve("r1", pods={"resources": {"cpu": "100m", "memory": "1Gi", "gpu": 64}})
    message = service.wait_for_condition("Progressing", "False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in message
    service.wait_for_condition("Available", "False", "NoActiveRevision")


def test_a_service_that_names_no_revision_waits_for_it(operator: Any, kubectl: Kubectl, service: Any) -> None:
    kubectl.apply(service_document("chat", model={"modelName": "tiny"}))
    service.wait_for_condition("RevisionFound", "False", "RevisionNotFound")
    assert service.objects() == []
    kubectl.apply(revision_document("r1"))
    service.candidate("r1")


def test_an_operator_that_is_killed_at_the_switch_loses_and_doubles_nothing(
    operators: Any, operator: Any, kubectl: Kubectl, service: Any, new_coordinator: Any
) -> None:
    first = service.roll_out("r1", new_coordinator())
    service.serve("r2")
    second = service.say("r2", new_coordinator(), checked=True)
    wait_until(
        service.selected,
        holds=lambda cluster: cluster == second,
        what="the switch",
        deadline_seconds=DEADLINE,
        poll_seconds=0.05,
    )
    operators.leader().kill()
    operators.start()
    status = service.wait_for_active("r2")
    assert service.endpoints() == set(service.pods_of("worker", cluster=second))
    assert service.pods_of("worker", cluster=first) == []
    assert [each["revision"] for each in status["history"]] == ["r2", "r1"]
    told = [(event["reason"], event["message"]) for event in kubectl.events("chat")]
    assert len(told) == len(set(told))
