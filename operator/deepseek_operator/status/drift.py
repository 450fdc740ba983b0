"""What a dataset's status says of its drift checks. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.drift_check import DriftCheckStatus
from deepseek_operator.status import text
from deepseek_operator.status.draft import Draft
from deepseek_operator.status.observed import PodFacts
from deepseek_workloads.contract.messages import DriftVerdict

DRIFT_DETECTED: Final = "DriftDetected"
NO_DRIFT, NOTHING_NEW, CHECK_FAILED, INVALID_SCHEDULE = (
    "NoDrift",
    "NothingNew",
    "CheckFailed",
    "InvalidSchedule",
)
_MAX_FEATURES: Final = 16


def verdict_of(pod: PodFacts) -> DriftVerdict:
    """Of a pod that has ended, in whatever way."""
    message = pod.exit.message if pod.exit is not None else ""
    try:
        return DriftVerdict.model_validate_json(message)
    except ValidationError:
        why = " ".join(filter(None, (pod.reason, pod.message, pod.exit.reason if pod.exit else "", message)))
        words = f"pod {pod.name} ended without a verdict: {why or 'no reason is known'}"
        return DriftVerdict(outcome="Failed", reason=CHECK_FAILED, message=words)


def condition_of(verdict: DriftVerdict, *, threshold: float) -> Draft:
    """True: a feature of the new raw data has drifted."""
    match verdict.outcome:
        case "NothingNew":
            return Draft(DRIFT_DETECTED, "False", NOTHING_NEW, verdict.message)
        case "TooFewDocuments" | "Failed":
            return Draft(DRIFT_DETECTED, "Unknown", verdict.reason or verdict.outcome, verdict.message)
    drifted = sorted(name for name, value in verdict.divergences.items() if value >= threshold)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(verdict.divergences.items()))
    sample = f"{verdict.documents} documents of {verdict.new_objects} new objects"
    found = f"PSI {figures} (limit {threshold:g}), {sample}"
    if not drifted:
        return Draft(DRIFT_DETECTED, "False", NO_DRIFT, found)
    advice = "look at the sources before a dataset is made of them"
    return Draft(DRIFT_DETECTED, "True", "FeaturesDrifted", f"{', '.join(drifted)}: {found}; {advice}")


def after_check(dataset: DeepSeekDataset, pod: PodFacts, verdict: DriftVerdict) -> DriftCheckStatus:
    earlier = dataset.status.drift_check or DriftCheckStatus()
    fields: dict[str, Any] = {
        "last_schedule_time": later(earlier.last_schedule_time, scheduled_for(pod)),
        "last_check_time": pod.exit.finished_at if pod.exit is not None else None,
        "new_objects": text.count(verdict.new_objects),
        "documents": text.count(verdict.documents),
    }
    if verdict.outcome == "Compared":
        fields["divergences"] = text.named_values(verdict.divergences, limit=_MAX_FEATURES)
    return earlier.model_copy(update=fields)


def scheduled_for(pod: PodFacts) -> datetime:
    """The time of the schedule that its number stands for (`resources.drift_check`)."""
    return datetime.fromtimestamp(pod.incarnation * 60, tz=UTC)


def later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)
