"""A setting that would do nothing is refused by name, and one that does something is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.monitoring import AlertRule, Alerts, ExpertLoadRule, Monitoring
from deepseek_workloads.contract.objective import CurriculumStage
from deepseek_workloads.contract.optimization import Optimizer, Schedule
from deepseek_workloads.contract.retention import KeepBest
from deepseek_workloads.contract.run_config import (
    Checkpoint,
    Data,
    Evaluation,
    Horovod,
    Owner,
    Parallelism,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.contract.sample_order import MixtureStage, SampleRange
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_training

STORAGE = Storage(uri="s3://models/tiny")


def run(**changes: object) -> TrainingRun:
    """100 steps of 8 samples."""
    base = TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=512),
        training=Training(steps=100, global_batch_size=8),
        workers=Workers(num_nodes=2),
        storage=STORAGE,
    )
    return base.model_copy(update=changes)


def training(**changes: object) -> TrainingRun:
    return run(training=run().training.model_copy(update=changes))


def model(preset: str, overrides: dict[str, object]) -> TrainingRun:
    return run(architecture=resolve(preset, overrides))


def data(**changes: object) -> TrainingRun:
    return run(data=run().data.model_copy(update=changes))


def best(
    metric: str, *, every: int = 10, evaluate: int | None = 10, answers: int | None = None
) -> TrainingRun:
    return run(
        checkpoint=Checkpoint(every_steps=every, keep_best=KeepBest(metric=metric)),
        evaluation=Evaluation(every_steps=evaluate, answers=answers),
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (training(optimizer=Optimizer(momentum=0.9)), "training.optimizer.momentum"),
        (training(schedule=Schedule(decay_steps=5)), "training.schedule.decaySteps"),
        (training(schedule=Schedule(power=3)), "training.schedule.power"),
        (training(horovod=Horovod(compression="fp16")), "training.horovod"),
        (run(monitoring=Monitoring(histograms_every_steps=101)), "monitoring.histogramsEverySteps"),
        (
            training(curriculum=[CurriculumStage(until_step=101, sequence_length=64)]),
            "training.curriculum[0].untilStep",
        ),
        (data(mixture=[MixtureStage(at_sample=800, weights={"docs": 1})]), "data.mixture.schedule[0]"),
        (data(skip=[SampleRange(from_sample=800, to_sample=900)]), "data.skip[0].fromSample"),
        (
            run(alerts=Alerts(activation_range=AlertRule(threshold=15, action="stop"))),
            "alerts.activationRange.action",
        ),
        (best("gradient_nrom"), "checkpoint.keepBest.metric"),
        (best("held_out_loss", evaluate=None), "checkpoint.keepBest.metric"),
        (best("bleu"), "checkpoint.keepBest.metric"),
        (best("held_out_loss", every=10, evaluate=13), "checkpoint.keepBest.metric"),
    ],
)
def test_what_would_do_nothing_is_refused(given: TrainingRun, field: str) -> None:
    assert [problem.field for problem in check_training(given)] == [f"spec.{field}"]


@pytest.mark.parametrize(
    "given",
    [
        training(optimizer=Optimizer(name="muon", momentum=0.9)),
        training(schedule=Schedule(name="wsd", decay_steps=5)),
        training(schedule=Schedule(name="polynomial", power=3)),
        run(
            monitoring=Monitoring(activation_range_every_steps=10),
            alerts=Alerts(activation_range=AlertRule(threshold=15, action="stop")),
        ),
        training(curriculum=[CurriculumStage(until_step=100, sequence_length=64)]),
        data(mixture=[MixtureStage(at_sample=799, weights={"docs": 1})]),
        data(skip=[SampleRange(from_sample=0, to_sample=50), SampleRange(from_sample=849, to_sample=900)]),
        best("loss", evaluate=None),
        best("gradientNorm", evaluate=None),
        best("held_out_loss"),
        best("bleu", every=9, evaluate=11).model_copy(
            update={
                "training": run().training.model_copy(update={"objective": "sft"}),
                "evaluation": Evaluation(every_steps=11, answers=2),
            }
        ),
    ],
)
def test_what_does_something_is_not(given: TrainingRun) -> None:
    assert check_training(given) == []


@given(every=st.integers(1, 120), evaluate=st.integers(1, 120))
def test_a_figure_is_refused_where_no_checkpoint_but_the_last_has_it(every: int, evaluate: int) -> None:
    recorded = [step for step in range(1, 100) if step % every == 0 and step % evaluate == 0]
    assert bool(check_training(best("accuracy", every=every, evaluate=evaluate))) == (not recorded)


def test_a_figure_of_an_evaluation_set_is_one_of_the_jobs() -> None:
    own = best("code/loss")
    sets = own.evaluation.model_copy(update={"sources": [Source(name="code", storage=STORAGE)]})
    assert check_training(own.model_copy(update={"evaluation": sets})) == []
    assert [problem.field for problem in check_training(own)] == ["spec.checkpoint.keepBest.metric"]


def test_a_name_that_is_nearly_right_is_told() -> None:
    (problem,) = check_training(best("held_out_los"))
    assert problem.remedy == "use held_out_loss"
    assert "gradient_norm" in problem.rule


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"evaluation": Evaluation(every_steps=10)}, "evaluation.everySteps"),
        ({"evaluation": Evaluation(max_samples=8)}, "evaluation.maxSamples"),
        ({"evaluation": Evaluation(prompts=["Once"])}, "evaluation.prompts"),
        ({"monitoring": Monitoring(activation_range_every_steps=7)}, "monitoring.activationRangeEverySteps"),
        ({"optimizer": Optimizer(function="mine:made")}, "training.optimizer.function"),
        ({"parallelism": Parallelism(zero_stage=3)}, "training.parallelism.zeroStage"),
    ],
)
def test_what_a_loop_of_the_users_own_decides_is_refused(changes: dict[str, object], field: str) -> None:
    of_training = {name: value for name, value in changes.items() if name in Training.model_fields}
    beside = {name: value for name, value in changes.items() if name not in of_training}
    own = training(entrypoint="mine:train", **of_training).model_copy(update=beside)
    assert [problem.field for problem in check_training(own)] == [f"spec.{field}"]


def test_a_loop_of_the_users_own_takes_what_is_there_unasked_and_keeps_by_any_figure() -> None:
    own = training(entrypoint="mine:train").model_copy(
        update={
            "monitoring": Monitoring(activation_range_every_steps=100),
            "checkpoint": Checkpoint(keep_best=KeepBest(metric="reward", mode="max")),
        }
    )
    assert check_training(own) == []


def shares(*, memory: float = 0.9, token: float | None = 0.75, idle: float | None = 0.25) -> TrainingRun:
    load = ExpertLoadRule(threshold=10, token_share=token, idle_share=idle)
    return run(alerts=Alerts(memory=AlertRule(threshold=memory), expert_load=load))


@pytest.mark.parametrize(
    ("given", "setting", "remedy"),
    [
        (shares(memory=90), "memory.threshold", "90 % is 0.9"),
        (shares(token=5), "expertLoad.tokenShare", "5 % is 0.05"),
        (shares(idle=2), "expertLoad.idleShare", "2 % is 0.02"),
        (shares(memory=1e6), "memory.threshold", "from 0 to 1"),
    ],
    ids=["memory", "one expert's tokens", "idle experts", "no percentage"],
)
def test_a_share_above_one_would_never_be_reached(given: TrainingRun, setting: str, remedy: str) -> None:
    (problem,) = check_training(given)
    assert problem.field == f"spec.alerts.{setting}"
    assert remedy in problem.remedy


def test_shares_up_to_one_are_taken_and_so_are_those_that_are_not_judged() -> None:
    assert check_training(shares(memory=1, token=1, idle=1)) == []
    assert check_training(shares(token=None, idle=None)) == []


TINY, GROUPED = "deepseek-v3-tiny", "transformer-5m"


@pytest.mark.parametrize(
    ("preset", "overrides", "field"),
    [
        (GROUPED, {"attention": {"slidingWindow": 8}}, "attention.slidingWindow"),
        (GROUPED, {"attention": {"kind": "slidingWindow", "numHashes": 2}}, "attention.numHashes"),
        (GROUPED, {"attention": {"kind": "lsh", "slidingWindow": 8}}, "attention.slidingWindow"),
        (TINY, {"attention": {"numBuckets": 8}}, "attention.numBuckets"),
        (TINY, {"attention": {"headDim": 32}}, "attention.headDim"),
        (TINY, {"attention": {"numKeyValueHeads": 2}}, "attention.numKeyValueHeads"),
        (GROUPED, {"attention": {"kind": "mla", "headDim": 32}}, "attention.headDim"),
        (TINY, {"mtpLossWeight": "0.1"}, "mtpLossWeight"),
    ],
)
def test_sizes_and_weights_that_the_model_does_not_read_are_refused(
    preset: str, overrides: dict[str, object], field: str
) -> None:
    given = model(preset, overrides)
    (problem,) = check_training(given)
    assert problem.field == f"spec.model.architecture.{field}"
    assert "leave it away" in problem.remedy
    assert check_training(given, begun=True) == []


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        (GROUPED, {"attention": {"kind": "slidingWindow", "slidingWindow": 8}}),
        (GROUPED, {"attention": {"kind": "lsh", "numBuckets": 8, "numHashes": 2}}),
        (GROUPED, {"attention": {"slidingWindow": 4096}}),  # the default, written out
        (GROUPED, {"attention": {"kind": "mla"}}),  # what the preset says of the kind it has, no one wrote
        (TINY, {"attention": {"kind": "gqa", "numKeyValueHeads": 2, "headDim": 32}}),
        (TINY, {"numNextnPredictLayers": 1, "mtpLossWeight": "0.1"}),
    ],
)
def test_sizes_and_weights_that_the_model_reads_are_not(preset: str, overrides: dict[str, object]) -> None:
    assert check_training(model(preset, overrides)) == []
