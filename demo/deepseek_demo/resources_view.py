"""What is to be seen of the demo's resources: rows of a table, how far a run is, and why it failed. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
HEADER = ("kind", "name", "state", "detail")
_WAITING_REASONS = ("waiting", "terminated")


Row = tuple[str, str, str, str]  # as HEADER


def rows(
    datasets: Sequence[Object], jobs: Sequence[Object], services: Sequence[Object], pods: Sequence[Object]
) -> list[Row]:
    """One row for each resource and each of their pods."""
    return [
        *(("dataset", _name(item), _state(item), _dataset_detail(item)) for item in datasets),
        *(("job", _name(item), _state(item), _job_detail(item)) for item in jobs),
        *(("service", _name(item), _state(item), _service_detail(item)) for item in services),
        *(("pod", _name(item), _pod_state(item), _node(item)) for item in pods),
    ]


def percent(resource: Object) -> float:
    """Its progress column as a number, 0 where it is empty."""
    text = str(_status(resource).get("progress", ""))
    try:
        return float(text.rstrip("% "))
    except ValueError:
        return 0.0


def condition(resource: Object, kind: str) -> Object:
    """The condition of that type, empty where there is none."""
    for found in _status(resource).get("conditions", []):
        if found["type"] == kind:
            return dict(found)
    return {}


def is_true(resource: Object, kind: str) -> bool:
    """Whether the condition of that type is True."""
    return condition(resource, kind).get("status") == "True"


def failure(resource: Object) -> str | None:
    """Why the resource cannot succeed any more, in the words of its conditions; None while it can."""
    failed, accepted = condition(resource, "Failed"), condition(resource, "Accepted")
    for found, bad in ((failed, "True"), (accepted, "False")):
        if found.get("status") == bad:
            return f"{resource['kind']} {_name(resource)}: {found['reason']}: {found.get('message', '')}"
    return None


# Conditions that do not stand between a resource and its work: how it ended, and how it does meanwhile.
_NOT_AWAITED = ("Succeeded", "Failed", "Suspended", "RevisionFailed", "Degraded", "Healthy")


def waits_for(resource: Object) -> str:
    """What has to happen before work begins: the newest condition that does not hold; empty when at work."""
    waiting = [
        found
        for found in _status(resource).get("conditions", [])
        if found["status"] != "True" and found["type"] not in _NOT_AWAITED and found["reason"] != "Finished"
    ]
    if waiting:
        newest = max(waiting, key=lambda found: str(found["lastTransitionTime"]))
        return f"{newest['reason']}: {newest.get('message', '')}"
    return ""


def doing(resource: Object) -> str:
    """Step, loss and speed of a job, stage of a dataset, revisions of a service."""
    details = {"DeepSeekTrainingJob": _job_detail, "DeepSeekModelService": _service_detail}
    return details.get(resource["kind"], _dataset_detail)(resource)


def revision(job: Object) -> str:
    """Name of the revision that records a job's model; empty while there is none."""
    return str((_status(job).get("export") or {}).get("revision", ""))


def active_revision(service: Object) -> str:
    """Name of the revision that gets the requests; empty while there is none."""
    return str((_status(service).get("active") or {}).get("revision", ""))


def refused_revision(service: Object, revision: str) -> str | None:
    """Why this revision gets no requests, in the words of the service; None while it may."""
    candidate = _status(service).get("candidate") or {}
    if candidate.get("revision") == revision and candidate.get("phase") == "Failed":
        return f"{candidate.get('reason', '')}: {candidate.get('message', '')}"
    return None


def measurements(job: Object) -> dict[str, float]:
    """The newest evaluation by name."""
    return {item["name"]: float(item["value"]) for item in _status(job).get("evaluation", [])}


def _dataset_detail(item: Object) -> str:
    status = _status(item)
    parts = [status.get("stage", ""), status.get("progress", "")]
    if status.get("tokens"):
        parts = [f"{status['documents']:,} documents, {status['tokens']:,} tokens"]
    return " ".join(filter(None, parts))


def _job_detail(item: Object) -> str:
    status = _status(item)
    parts = [f"step {status.get('step', 0)}/{status['totalSteps']}"] if status.get("totalSteps") else []
    parts += [f"loss {status['loss']}"] if status.get("loss") else []
    parts += [f"{status['tokensPerSecond']:,} tokens/s"] if status.get("tokensPerSecond") else []
    parts += [f"ETA {status['eta']}"] if status.get("eta") else []
    return ", ".join(parts)


def _service_detail(item: Object) -> str:
    candidate = _status(item).get("candidate") or {}
    parts = [f"active {active_revision(item)}"] if active_revision(item) else []
    if candidate:
        parts += [f"candidate {candidate['revision']}: {candidate.get('phase', '')}"]
    return ", ".join(parts)


def _pod_state(pod: Object) -> str:
    for container in _status(pod).get("containerStatuses", []):
        for state in _WAITING_REASONS:
            reason = container.get("state", {}).get(state, {}).get("reason")
            if reason:
                return str(reason)
        if container.get("ready"):
            return "Ready"
    return str(_status(pod).get("phase", ""))


def _node(pod: Object) -> str:
    return str(pod.get("spec", {}).get("nodeName", ""))


def _state(item: Object) -> str:
    return str(_status(item).get("state", ""))


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _status(item: Object) -> Object:
    found: Object = item.get("status") or {}
    return found
