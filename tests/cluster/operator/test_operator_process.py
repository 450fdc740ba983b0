"""The operator as processes: one leads, another takes over, killed ones lose nothing, its rights suffice."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from harness.kubectl import Kubectl
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import Verdict
from local_kubernetes import Cluster
from operator_harness.processes import grant_operator_rules

COORDINATOR = "dsjob-tiny-coordinator-1"
WORKERS = ("dsjob-tiny-worker-0-1", "dsjob-tiny-worker-1-1")
IDENTITY = "system:serviceaccount:deepseek-system:deepseek-operator"
DEADLINE = 180.0
REFUSED_TO_ANYBODY = ("exceeded quota", "because it is being terminated")


def _get(port: int, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_a_standby_takes_over_from_a_killed_leader_and_goes_on_with_its_work(
    operator: Any, operators: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    standby = operators.start()
    wait_until(
        lambda: standby.log.stat().st_size >= 0 and _listening(standby.port),
        holds=bool,
        what="the standby's HTTP server",
        deadline_seconds=DEADLINE,
    )
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    operator.kill()
    pods.finish(WORKERS[0], exit_code=1)
    assert operators.wait_for_leader().name == standby.name
    pods.wait_for(COORDINATOR, "dsjob-tiny-worker-0-2", WORKERS[1])


def _listening(port: int) -> bool:
    try:
        return _get(port, "/readyz")[0] == 200
    except OSError:
        return False


def test_a_stopped_leader_gives_its_lease_up(operators: Any, operator: Any) -> None:
    assert operator.stop() == 0
    assert operators.holder() == ""


def test_killed_again_and_again_while_a_job_starts_nothing_is_lost_or_doubled(
    operators: Any, operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    def killed_when(what: str, seen: Any) -> None:
        wait_until(lambda: seen(), holds=bool, what=what, deadline_seconds=DEADLINE, poll_seconds=0.05)
        leader = operators.leader()
        if leader is not None:
            leader.kill()
        operators.start()

    kubectl.apply(a_job())
    killed_when("a ConfigMap", lambda: kubectl.get("configmap", "dsjob-tiny-run"))
    killed_when("a coordinator", lambda: COORDINATOR in pods.names())
    killed_when("a worker", lambda: WORKERS[0] in pods.names())
    pods.wait_for(COORDINATOR, *WORKERS)
    pods.finish(COORDINATOR, verdict=Verdict(outcome="Succeeded", reason="Completed", step=20))
    killed_when("the end of the workers", lambda: pods.active() == [])
    wait_until(
        lambda: (kubectl.get("dsjob", "tiny") or {}).get("status", {}).get("state"),
        holds=lambda state: state == "Succeeded",
        what="the job's success",
        deadline_seconds=DEADLINE,
    )
    assert pods.names() == [COORDINATOR]
    told = [(event["reason"], event["message"]) for event in kubectl.events("tiny")]
    assert len(told) == len(set(told))


def test_health_and_metrics_are_served(operator: Any, kubectl: Kubectl, pods: Any, a_job: Any) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    assert _get(operator.port, "/healthz") == (200, "ok\n")
    text = _get(operator.port, "/metrics")[1]
    assert "deepseek_operator_leading 1.0" in text
    assert 'deepseek_operator_reconciles_total{kind="DeepSeekTrainingJob",result="done"}' in text
    assert 'deepseek_operator_watch_events_total{resource="pods"}' in text


def test_limited_to_a_namespace_it_needs_rights_there_only_and_works_there_only(
    operators: Any, limited_operators: Any, admin: Kubectl, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    operators.end()  # nobody but the limited one
    other = admin.in_namespace("default")
    other.apply(a_job("elsewhere"))
    kubectl.apply(a_job())

    unprivileged = limited_operators.start(DEEPSEEK_WATCH_NAMESPACES=kubectl.namespace)
    unprivileged.process.wait(DEADLINE)
    assert unprivileged.process.returncode == 1
    assert "cannot be listed in" in unprivileged.log.read_text()

    grant_operator_rules(admin, limited_operators.lease, namespace=kubectl.namespace)
    limited_operators.start(DEEPSEEK_WATCH_NAMESPACES=kubectl.namespace)
    pods.wait_for(COORDINATOR, *WORKERS)
    assert (other.get("dsjob", "elsewhere") or {}).get("status") is None
    other.delete("dsjob", "elsewhere")


def test_the_operator_never_reads_a_secret_and_never_lacks_a_right(
    operator: Any, control_plane: Cluster, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    """Over everything that the tests before this one made it do."""
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    own = [entry for entry in _audited(control_plane.audit_log) if entry["user"]["username"] == IDENTITY]
    assert len(own) > 50
    secrets = {e["verb"] for e in own if e.get("objectRef", {}).get("resource") == "secrets"}
    assert secrets == {"create"}
    refused = {
        (e["verb"], e["objectRef"].get("resource"), e["responseStatus"].get("message", ""))
        for e in own
        if e.get("responseStatus", {}).get("code") == 403
        and not any(words in e["responseStatus"].get("message", "") for words in REFUSED_TO_ANYBODY)
    }
    assert refused == set()
    unselected = [e for e in own if e["verb"] == "watch" and "/pods" in e["requestURI"]]
    assert unselected
    assert all("labelSelector=app.kubernetes.io" in e["requestURI"] for e in unselected)


def _audited(log: Path) -> list[dict[str, Any]]:
    lines = log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
