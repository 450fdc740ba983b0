"""The status of a DeepSeekDataset from what was observed. Pure; what is not seen now stays as it was."""

from typing import Any

from deepseek_operator.api.dataset import DatasetStatus, DeepSeekDataset, StageStatus
from deepseek_operator.status import text
from deepseek_operator.status.observed import Observed
from deepseek_operator.status.run_status import CONDITIONS, common_fields
from deepseek_operator.status.view import View
from deepseek_workloads.contract.messages import Progress, Verdict

_MAX_STATISTICS = 64
# Fields of their own, by the names of the verdict's statistics.
_COUNTS = {"documents": "documents", "tokens": "tokens", "vocab_size": "vocabSize"}


def compute_status(dataset: DeepSeekDataset, observed: Observed) -> DatasetStatus:
    """The whole new status; equal inputs give equal outputs but for times of transitions."""
    view = View(dataset, observed)
    fields = common_fields(view, CONDITIONS)
    if observed.progress is not None and observed.progress.stages:
        fields |= _from_progress(observed.progress)
    if view.outcome is not None and view.outcome.verdict is not None:
        fields |= _from_verdict(view.outcome.verdict)
    return dataset.status.model_copy(update=fields)


def _from_progress(progress: Progress) -> dict[str, Any]:
    """The stage in progress is the first that is not done."""
    stages = [
        StageStatus(name=text.short(stage.name), done=text.count(stage.done), total=text.count(stage.total))
        for stage in progress.stages
    ]
    current = next((stage for stage in stages if stage.done < stage.total), stages[-1])
    return {
        "stages": list({stage.name: stage for stage in stages}.values()),
        "stage": current.name,
        "progress": text.percent(current.done, current.total),
    }


def _from_verdict(verdict: Verdict) -> dict[str, Any]:
    statistics = verdict.statistics
    fields: dict[str, Any] = {"statistics": text.named_values(statistics, limit=_MAX_STATISTICS)}
    if verdict.outcome == "Succeeded":
        fields |= {"stage": "Done", "progress": "100%"}
    if verdict.digest:
        fields |= {
            "uri": text.uri(verdict.uri),
            "digest": text.short(verdict.digest),
            "short_digest": text.short_digest(verdict.digest),
        }
    if verdict.report_digest:
        fields["report_digest"] = text.short(verdict.report_digest)
    for field, name in _COUNTS.items():
        if name in statistics:
            fields[field] = text.count(statistics[name])
    return fields
