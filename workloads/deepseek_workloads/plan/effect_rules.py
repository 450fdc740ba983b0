"""Settings that would be passed over without a word: they belong to others, or to steps that never come.
Pure.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from math import lcm

from pydantic.alias_generators import to_camel

from deepseek_workloads.contract.architecture import Architecture, Attention
from deepseek_workloads.contract.retention import ANSWER_METRICS, HELD_OUT_METRICS, STEP_METRICS
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.architecture import (
    ARCHITECTURE_FIELD,
    INVALID_ARCHITECTURE,
    KINDS_THAT_READ,
    unread_sizes,
)
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_KEEP_BEST = "spec.checkpoint.keepBest.metric"
_MTP_LOSS_WEIGHT = Architecture.model_fields["mtp_loss_weight"].default


def of_another(run: TrainingRun) -> Iterator[Problem]:
    """Settings of an algorithm that is not the chosen one."""
    optimizer, schedule = run.training.optimizer, run.training.schedule
    chosen = {
        "optimizer.momentum": (optimizer.momentum, optimizer.name != "adamw", "muon and amf", optimizer.name),
        "schedule.decaySteps": (schedule.decay_steps, schedule.name == "wsd", "wsd", schedule.name),
        "schedule.power": (schedule.power, schedule.name == "polynomial", "polynomial", schedule.name),
        "horovod": (run.training.horovod, run.backend == "horovod", "backend horovod", run.backend),
    }
    for setting, (value, has_effect, owner, instead) in chosen.items():
        if value is not None and not has_effect:
            yield Problem(
                f"spec.training.{setting}",
                f"{value:g}" if isinstance(value, float | int) else "given",
                f"belongs to {owner}, and {instead} is chosen",
                f"leave it away, or choose {owner}",
                INVALID_TRAINING,
            )


def unread_by_the_model(run: TrainingRun) -> Iterator[Problem]:
    """Sizes of attention that is not the chosen one, and weights of losses that there are not. What code of
    the user's own reads, is not known."""
    a = run.architecture
    if run.model_function or run.training.entrypoint:
        return
    for name in unread_sizes(a.attention):
        value = getattr(a.attention, name)
        if value != Attention.model_fields[name].default:
            kinds = " or ".join(KINDS_THAT_READ[name])
            yield Problem(
                f"{ARCHITECTURE_FIELD}.attention.{to_camel(name)}",
                str(value),
                f"belongs to attention.kind {kinds}, and {a.attention.kind} is chosen",
                f"leave it away, or choose {kinds}",
                INVALID_ARCHITECTURE,
            )
    if not a.num_nextn_predict_layers and a.mtp_loss_weight != _MTP_LOSS_WEIGHT:
        yield Problem(
            f"{ARCHITECTURE_FIELD}.mtpLossWeight",
            f"{a.mtp_loss_weight:g}",
            "weighs the loss of modules for more than the next token, and numNextnPredictLayers is 0",
            "leave it away, or set numNextnPredictLayers",
            INVALID_ARCHITECTURE,
        )


def beyond_the_end(run: TrainingRun) -> Iterator[Problem]:
    """What is to happen at steps or samples that the run does not come to."""
    steps, profile = run.training.steps, run.monitoring.profile
    at_step = [
        ("spec.monitoring.profile.fromStep", profile.from_step if profile is not None else None),
        ("spec.monitoring.histogramsEverySteps", run.monitoring.histograms_every_steps),
        *(
            (f"spec.training.curriculum[{index}].untilStep", stage.until_step)
            for index, stage in enumerate(run.training.curriculum)
        ),
    ]
    for field, step in at_step:
        if step is not None and step > steps:
            yield _beyond(field, step, f"{steps} steps of the run", most=steps)
    samples = steps * run.training.global_batch_size
    for index, stage in enumerate(run.data.mixture or ()):
        if stage.at_sample >= samples:
            field = f"spec.data.mixture.schedule[{index}]"
            yield _beyond(
                field, stage.at_sample, f"{samples} samples of the run, from 0 on", most=samples - 1
            )
    places = samples
    for index, skipped in enumerate(run.data.skip or ()):
        if skipped.from_sample >= places:
            field = f"spec.data.skip[{index}].fromSample"
            yield _beyond(
                field,
                skipped.from_sample,
                f"{places} places that the run comes to, from 0 on",
                most=places - 1,
            )
        places += skipped.to_sample - skipped.from_sample


def _beyond(field: str, value: int, of_run: str, *, most: int) -> Problem:
    return Problem(
        field,
        str(value),
        f"must be one of the {of_run}: there it has an effect",
        f"use at most {most}, leave it away, or train longer",
        INVALID_TRAINING,
    )


def activation_alert(run: TrainingRun) -> Iterator[Problem]:
    action = run.alerts.activation_range.action
    if action in ("ignore", "warn") or run.monitoring.activation_range_every_steps is not None:
        return
    if run.training.entrypoint is None:
        yield Problem(
            "spec.alerts.activationRange.action",
            action,
            "needs the figure, and monitoring.activationRangeEverySteps 0 never measures it",
            "set activationRangeEverySteps, to 1 for every step, or use action warn or ignore",
            INVALID_TRAINING,
        )


def alert_shares(run: TrainingRun) -> Iterator[Problem]:
    """Shares that nothing measured is ever above."""
    alerts = run.alerts
    shares = {
        "memory.threshold": alerts.memory.threshold,
        "expertLoad.tokenShare": alerts.expert_load.token_share,
        "expertLoad.idleShare": alerts.expert_load.idle_share,
    }
    for setting, share in shares.items():
        if share is not None and share > 1:
            percent = f": {share:g} % is {share / 100:g}" if share <= 100 else ""
            yield Problem(
                f"spec.alerts.{setting}",
                f"{share:g}",
                "must be at most 1: it is a share, and nothing that is measured is above it",
                f"use a number from 0 to 1{percent}",
                INVALID_TRAINING,
            )


def keep_best(run: TrainingRun) -> Iterator[Problem]:
    """Whether checkpoints have the figure. Of an entrypoint it is whatever that reports."""
    wanted, evaluate_every = run.checkpoint.keep_best, run.evaluation.every_steps
    if wanted is None or run.training.entrypoint is not None:
        return
    name, every = wanted.recorded_metric, run.checkpoint.every_steps
    if name in STEP_METRICS:
        return
    of_answers = _of_sets(run, ANSWER_METRICS)
    known = [*STEP_METRICS, *_of_sets(run, HELD_OUT_METRICS), *of_answers]
    if name not in known:
        yield _unknown_metric(wanted.metric, known)
    elif evaluate_every is None:
        rule = "is a figure of evaluations, of which there is one at the end only"
        yield Problem(
            _KEEP_BEST, repr(wanted.metric), rule, f"set evaluation.everySteps, to {every} or a divisor of it"
        )
    elif name in of_answers and run.evaluation.answers is None:
        rule = "is a figure of the model's answers, and it is asked for none"
        yield Problem(
            _KEEP_BEST, repr(wanted.metric), rule, "set evaluation.answers, or keep by held_out_loss"
        )
    elif lcm(every, evaluate_every) >= run.training.steps:
        yield Problem(
            _KEEP_BEST,
            repr(wanted.metric),
            f"is recorded where a checkpoint and an evaluation are due at once: with checkpoint.everySteps "
            f"{every} and evaluation.everySteps {evaluate_every} at no step before the last, the "
            f"{run.training.steps}th",
            f"set evaluation.everySteps to {every} or a divisor of it, and checkpoint.everySteps below "
            f"{run.training.steps}",
        )


def _of_sets(run: TrainingRun, metrics: Sequence[str]) -> list[str]:
    """Of the held-out split, and of each evaluation set as NAME/metric."""
    names = [source.name for source in run.evaluation.sources or ()]
    return [*metrics, *(f"{name}/{metric.removeprefix('held_out_')}" for name in names for metric in metrics)]


def _unknown_metric(metric: str, known: Sequence[str]) -> Problem:
    near = get_close_matches(metric, known, n=1)
    return Problem(
        _KEEP_BEST,
        repr(metric),
        f"must be a figure of checkpoints: {', '.join(known)}",
        f"use {near[0]}" if near else "use one of them: held_out_loss with evaluation.everySteps, or loss",
    )
