"""What a user reads of a job at each point of its life."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_operator.api.custom_resource import build_schema
from deepseek_operator.api.kinds import TRAINING_JOB
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.api.training_job_status import TrainingJobStatus
from deepseek_operator.status.events import events_between
from deepseek_operator.status.observed import ContainerExit, Observed
from deepseek_operator.status.outcome import active_seconds
from deepseek_operator.status.training_job import compute_status
from deepseek_workloads.contract.messages import AlertSummary, CheckpointSummary, Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.problem import Problem

STATUS_SCHEMA = jsonschema.Draft202012Validator(build_schema(TRAINING_JOB)["properties"]["status"])
WAITING = Progress(phase="WaitingForWorkers")
DIGEST = "sha256:" + "0" * 64
TRAINING = Progress(
    phase="Training",
    epoch=1,
    step=37,
    total_steps=100,
    tokens=4736,
    loss=2.34567,
    learning_rate=3e-4,
    tokens_per_second=1234.56,
    eta_seconds=4320,
    evaluation={"held_out_bits_per_byte": 1.83},
    checkpoints=[CheckpointSummary(step=30, epoch=1, created_at="2026-11-22T12:00:00Z", log_index=2)],
)


def _conditions(status: TrainingJobStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def _message(status: TrainingJobStatus, kind: str) -> str:
    return next(condition.message for condition in status.conditions if condition.type == kind)


def _after(job: DeepSeekTrainingJob, observed: Observed) -> DeepSeekTrainingJob:
    return job.model_copy(update={"status": compute_status(job, observed)})


@pytest.fixture
def running(make_pod: Any, now: datetime, run: TrainingRun) -> Observed:
    pods = (make_pod("coordinator"), make_pod(index=0), make_pod(index=1))
    return Observed(now=now, pods=pods, run=run, run_config_digest=DIGEST, progress=TRAINING)


def test_a_running_job_fills_its_columns(make_job: Any, running: Observed) -> None:
    status = compute_status(make_job(), running)
    columns = (status.state, status.step, status.progress, status.loss, status.tokens_per_second, status.eta)
    assert columns == ("Training", 37, "37%", "2.3457", 1235, "1h12m")
    assert status.last_checkpoint_step == 30
    assert status.pods is not None
    assert (status.pods.ready, status.pods.desired) == (2, 2)
    assert _conditions(status)["Running"] == ("True", "Running")
    assert _conditions(status)["PodsReady"][0] == "True"


def test_an_alert_is_a_condition_until_it_is_over(make_job: Any, running: Observed) -> None:
    assert _conditions(compute_status(make_job(), running))["Healthy"] == ("True", "NoAlerts")
    alert = AlertSummary(kind="GradientNorm", action="skip", step=36, message="gradient norm 12: above 10")
    alarmed = replace(running, progress=TRAINING.model_copy(update={"alerts": [alert]}))
    job = _after(make_job(), alarmed)
    assert _conditions(job.status)["Healthy"] == ("False", "GradientNorm")
    assert _message(job.status, "Healthy") == "step 36: gradient norm 12: above 10; action skip"
    assert _conditions(_after(job, replace(running, progress=None)).status)["Healthy"][0] == "False"
    assert _conditions(_after(job, running).status)["Healthy"] == ("True", "NoAlerts")


def test_what_carries_the_gradients_is_told_and_kept(make_job: Any, running: Observed) -> None:
    told = replace(running, progress=TRAINING.model_copy(update={"data_path": "gloo"}))
    status = compute_status(make_job(), told)
    assert status.data_path == "gloo"
    later = make_job(status=status.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert compute_status(later, replace(running, progress=None)).data_path == "gloo"


def test_a_micro_batch_size_that_was_found_is_told_and_kept(make_job: Any, running: Observed) -> None:
    assert compute_status(make_job(), running).micro_batch_size is None
    job = _after(make_job(), replace(running, progress=TRAINING.model_copy(update={"micro_batch_size": 12})))
    assert job.status.micro_batch_size == 12
    assert compute_status(job, replace(running, progress=None)).micro_batch_size == 12


def test_the_plan_is_told_before_any_pod_exists(make_job: Any, now: datetime, run: TrainingRun) -> None:
    status = compute_status(make_job(), Observed(now=now, run=run, run_config_digest=DIGEST))
    assert status.plan is not None
    assert status.plan.parameters > status.plan.active_parameters > 0
    assert (status.plan.world_size, status.plan.total_steps) == (2, 100)
    assert status.plan.micro_batch_size * status.plan.accumulation_steps * 2 == 8
    assert status.datasets[0].digest == DIGEST
    assert status.total_steps == 100


def test_the_plan_of_known_gpus_says_how_long_it_takes(
    make_job: Any, now: datetime, run: TrainingRun
) -> None:
    plans = {}
    for product in ("NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "Unheard-of"):
        workers = run.workers.model_copy(update={"gpus_per_node": 1, "gpu_product": product})
        on_gpus = run.model_copy(update={"workers": workers})
        plan = compute_status(make_job(), Observed(now=now, run=on_gpus, run_config_digest=DIGEST)).plan
        assert plan is not None
        plans[product] = (plan.estimated_tokens_per_second, plan.estimated_duration)
    fast, slow, unknown = plans.values()
    assert fast[0] > slow[0] > 0
    assert fast[1]
    assert unknown == (0, "")


def test_what_is_refused_says_why_and_what_to_do(make_job: Any, now: datetime) -> None:
    problem = Problem("spec.model.preset", "'x'", "must be known", "use y", reason="UnknownPreset")
    status = compute_status(make_job(), Observed(now=now, problems=(problem,)))
    assert status.state == "Refused"
    assert _conditions(status)["Accepted"] == ("False", "UnknownPreset")
    assert _message(status, "Accepted") == "spec.model.preset: 'x': must be known; use y"
    assert _conditions(status)["Progressing"][0] == "False"


def test_a_name_that_is_taken_is_told(make_job: Any, now: datetime) -> None:
    status = compute_status(make_job(), Observed(now=now, conflict="Service x is not owned by it"))
    assert _conditions(status)["Accepted"] == ("False", "NameConflict")


def test_a_job_waits_for_its_dataset_in_words(make_job: Any, now: datetime) -> None:
    words = "DeepSeekDataset docs does not exist in namespace research: create it"
    status = compute_status(make_job(), Observed(now=now, waiting=(words,)))
    assert status.state == "Waiting"
    assert _conditions(status)["DatasetsReady"] == ("False", "DatasetNotReady")
    assert _message(status, "DatasetsReady") == words


def test_a_job_that_does_not_fit_repeats_the_schedulers_reason(
    make_job: Any, make_pod: Any, running: Observed
) -> None:
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    pending = make_pod(index=1, phase="Pending", ready=False, node="", unschedulable=message)
    observed = replace(
        running, pods=(*running.pods[:2], pending), progress=Progress(phase="WaitingForWorkers")
    )
    status = compute_status(make_job(), observed)
    assert status.state == "Pending"
    assert _conditions(status)["PodsReady"] == ("False", "Unschedulable")
    assert message in _message(status, "PodsReady")


def test_an_image_that_cannot_be_pulled_is_told_before_the_deadline(
    make_job: Any, make_pod: Any, running: Observed
) -> None:
    pod = make_pod("coordinator", phase="Pending", ready=False, waiting_reason="ErrImagePull")
    status = compute_status(make_job(), replace(running, pods=(pod,), progress=None))
    assert status.state == "ImagePullFailed"


def test_a_quota_is_told(make_job: Any, running: Observed) -> None:
    observed = replace(running, pods=(), progress=None, refused="pods is forbidden: exceeded quota")
    status = compute_status(make_job(), observed)
    assert _conditions(status)["PodsReady"] == ("False", "RefusedByCluster")
    assert "exceeded quota" in _message(status, "Progressing")


def test_preflight_shows(make_job: Any, make_pod: Any, running: Observed) -> None:
    observed = replace(running, pods=(make_pod("coordinator", ready=False),), progress=Progress())
    status = compute_status(make_job(), observed)
    assert status.state == "Preflight"
    assert _conditions(status)["PodsReady"] == ("False", "Preflight")


def test_a_lost_worker_is_told_and_does_not_count(make_job: Any, make_pod: Any, running: Observed) -> None:
    lost = make_pod(index=1, disruption="DeletionByTaintManager", deleting=True)
    status = compute_status(make_job(), replace(running, pods=(*running.pods[:2], lost)))
    assert status.state == "Recovering"
    assert status.failures == 0
    assert "lost with its node" in status.last_failure
    assert _conditions(status)["Progressing"] == ("True", "Recovering")


def test_workers_that_were_sent_home_are_not_being_replaced(
    make_job: Any, make_pod: Any, running: Observed
) -> None:
    home = make_pod(index=1, phase="Succeeded", exit=ContainerExit(0))
    observed = replace(running, pods=(*running.pods[:2], home), progress=None)
    status = compute_status(_after(make_job(), running), observed)
    assert status.state == "Finishing"
    assert "verdict" in _message(status, "PodsReady")


def test_a_restart_in_place_is_a_recovery_and_a_first_start_is_none(make_job: Any, running: Observed) -> None:
    starting = replace(running, progress=Progress(phase="Starting", epoch=1))
    assert compute_status(_after(make_job(), running), starting).state == "Starting"
    again = replace(running, progress=Progress(phase="Starting", epoch=2, restarts=1))
    assert compute_status(_after(make_job(), running), again).state == "Recovering"


def test_out_of_memory_is_told_at_the_first_time(make_job: Any, make_pod: Any, running: Observed) -> None:
    killed = make_pod(index=1, phase="Failed", exit=ContainerExit(137, reason="OOMKilled"))
    status = compute_status(make_job(), replace(running, pods=(*running.pods[:2], killed)))
    assert status.failures == 1
    assert "its limit is 3Gi" in status.last_failure
    assert "Python, torch and Ray need about 800Mi" in status.last_failure


def test_success_keeps_what_was_learnt(make_job: Any, make_ended: Any, running: Observed) -> None:
    verdict = Verdict(
        outcome="Succeeded",
        reason="Completed",
        message="100 steps",
        step=100,
        digest=DIGEST,
        uri="s3://models/tiny/exports/x",
        evaluation={"held_out_bits_per_byte": 1.7},
    )
    before = _after(make_job(), running)
    observed = replace(running, pods=(make_ended(verdict),), progress=None, revision="tiny-00000000")
    status = compute_status(before, observed)
    assert (status.state, status.progress, status.eta) == ("Succeeded", "100%", "")
    assert status.loss == "2.3457"
    assert status.export is not None
    assert (status.export.digest, status.export.revision) == (DIGEST, "tiny-00000000")
    assert {each.name: each.value for each in status.evaluation} == {"held_out_bits_per_byte": "1.7"}
    assert status.completion_time == running.now
    assert _conditions(status)["Succeeded"] == ("True", "Completed")
    assert _conditions(status)["Failed"][0] == "False"


def test_a_run_that_ended_before_anybody_asked_shows_its_last_figures(
    make_job: Any, make_ended: Any, running: Observed
) -> None:
    verdict = Verdict(
        outcome="Succeeded",
        reason="Completed",
        step=100,
        tokens=12800,
        loss=1.23456,
        tokens_per_second=987.6,
    )
    status = compute_status(make_job(), replace(running, pods=(make_ended(verdict),), progress=None))
    assert (status.tokens, status.loss, status.tokens_per_second) == (12800, "1.2346", 988)


def test_a_failure_sooner_than_anybody_asked_says_which_checkpoint_stays(
    make_job: Any, make_ended: Any, running: Observed
) -> None:
    verdict = Verdict(outcome="Failed", reason="NumericFailure", exit_code=11, step=12, checkpoint_step=10)
    status = compute_status(make_job(), replace(running, pods=(make_ended(verdict),), progress=None))
    assert status.last_checkpoint_step == 10


def test_failure_tells_the_verdict(make_job: Any, make_ended: Any, running: Observed) -> None:
    verdict = Verdict(outcome="Failed", reason="NumericFailure", message="loss is NaN", exit_code=11, step=12)
    status = compute_status(make_job(), replace(running, pods=(make_ended(verdict),), progress=None))
    assert (status.state, status.step) == ("Failed", 12)
    assert _conditions(status)["Failed"] == ("True", "NumericFailure")
    assert _message(status, "Failed") == "loss is NaN"


def test_the_last_checkpoint_before_a_suspension_is_shown(
    make_job: Any, make_ended: Any, running: Observed
) -> None:
    """It is written after the last look at the run's progress."""
    verdict = Verdict(outcome="Stopped", reason="Stopped", message="as asked", step=41, checkpoint_step=41)
    job = _after(make_job({"suspend": True}), running)
    job = _after(job, replace(running, pods=(make_ended(verdict),)))
    job = _after(job, replace(running, pods=(), progress=None))
    assert job.status.state == "Suspended"
    assert (job.status.step, job.status.last_checkpoint_step) == (41, 41)


def test_suspending_and_suspended(make_job: Any, running: Observed) -> None:
    job = _after(make_job({"suspend": True}), running)
    assert job.status.state == "Suspending"
    assert _conditions(job.status)["Suspended"] == ("False", "Stopping")
    gone = replace(running, pods=(), progress=None, now=running.now + timedelta(seconds=9))
    job = _after(job, gone)
    assert job.status.state == "Suspended"
    assert _conditions(job.status)["Suspended"] == ("True", "Suspended")
    assert job.status.suspended_since == gone.now
    assert job.status.step == 37


def test_resuming_adds_the_suspension_to_the_books(make_job: Any, running: Observed) -> None:
    since = (running.now - timedelta(seconds=90)).isoformat()
    suspended = {"type": "Suspended", "status": "True", "reason": "Suspended", "lastTransitionTime": since}
    earlier = {"suspendedSince": since, "suspendedSeconds": 10, "conditions": [suspended]}
    job = make_job(status={**earlier, "startTime": "2026-11-22T11:00:00Z"})
    status = compute_status(job, replace(running, pods=(), progress=None))
    assert (status.suspended_since, status.suspended_seconds) == (None, 100)
    assert _conditions(status)["Suspended"][0] == "False"


def test_a_suspension_before_the_first_start_is_not_on_the_books(make_job: Any, running: Observed) -> None:
    """Else the time since the start, less what was suspended, would be a day short of the truth."""
    nothing = replace(running, pods=(), progress=None)
    job = _after(make_job({"suspend": True}), nothing)
    assert job.status.suspended_since == running.now
    tomorrow = running.now + timedelta(days=1)
    resumed = make_job(status=job.status.model_dump(mode="json", by_alias=True, exclude_none=True))
    job = _after(resumed, replace(nothing, now=tomorrow))
    assert (job.status.suspended_since, job.status.suspended_seconds) == (None, 0)
    assert active_seconds(job.status.model_copy(update={"start_time": tomorrow}), tomorrow) == 0


def test_a_job_that_was_never_suspended_has_no_such_condition(make_job: Any, running: Observed) -> None:
    assert "Suspended" not in _conditions(compute_status(make_job(), running))


def test_times_of_transitions_stay_while_the_status_stays(make_job: Any, running: Observed) -> None:
    job = _after(make_job(), running)
    later = compute_status(job, replace(running, now=running.now + timedelta(seconds=5)))
    assert later == job.status


def test_conditions_of_others_are_kept(make_job: Any, running: Observed) -> None:
    foreign = {
        "type": "Audited",
        "status": "True",
        "reason": "ByHand",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = compute_status(make_job(status={"conditions": [foreign]}), running)
    assert _conditions(status)["Audited"] == ("True", "ByHand")


def test_an_unreachable_coordinator_leaves_what_was_known(make_job: Any, running: Observed) -> None:
    job = _after(make_job(), running)
    status = compute_status(job, replace(running, progress=None))
    assert (status.step, status.loss, status.last_checkpoint_step) == (37, "2.3457", 30)


def test_an_answer_that_is_missed_changes_nothing_that_a_user_sees_at_a_glance(
    make_job: Any, running: Observed
) -> None:
    job = _after(make_job(), running)
    silent = replace(running, progress=None, now=running.now + timedelta(seconds=2))
    missed = _after(job, silent)
    assert (missed.status.state, missed.status.eta) == ("Training", job.status.eta)
    before, after = _conditions(job.status), _conditions(missed.status)
    assert after.pop("CoordinatorReachable") == ("False", "CoordinatorUnreachable")
    assert after == before
    back = _after(missed, replace(running, now=silent.now + timedelta(seconds=2)))
    assert back.status.state == "Training"
    assert _conditions(back.status)["CoordinatorReachable"] == ("True", "Answers")
    assert [event.reason for event in events_between(job.status, back.status)] == []


def test_a_coordinator_that_stays_silent_is_no_longer_believed(make_job: Any, running: Observed) -> None:
    silent = replace(running, progress=None)
    job = _after(_after(make_job(), running), silent)
    for seconds in (30, 3600):
        job = _after(job, replace(silent, now=silent.now + timedelta(seconds=seconds)))
        assert (job.status.state, job.status.eta) == ("Unknown", "")
        assert _conditions(job.status)["Running"] == ("Unknown", "CoordinatorUnreachable")
        assert _conditions(job.status)["Progressing"][0] == "Unknown"


def test_silence_of_another_coordinator_says_nothing_of_the_run_before(
    make_job: Any, make_pod: Any, running: Observed
) -> None:
    job = _after(make_job(), running)
    successor = make_pod("coordinator", incarnation=2)
    status = compute_status(job, replace(running, pods=(successor, *running.pods[1:]), progress=None))
    assert status.state == "Recovering"
    assert _conditions(status)["Running"] == ("False", "Starting")


PROGRESS = st.builds(
    Progress,
    phase=st.sampled_from(["Preflight", "Starting", "Training", "Evaluating", "Stopping", "Done"]),
    message=st.text(max_size=20),
    epoch=st.integers(),
    restarts=st.integers(),
    failures=st.integers(),
    last_failure=st.text(max_size=8000),
    step=st.integers(),
    tokens=st.integers(),
    loss=st.none() | st.floats(),
    learning_rate=st.none() | st.floats(0, 1),
    gradient_norm=st.none(),
    tokens_per_second=st.none() | st.floats(),
    micro_batch_size=st.none() | st.integers(),
    eta_seconds=st.none() | st.integers(),
    evaluation=st.dictionaries(st.text(max_size=70), st.floats(), max_size=40),
    goodput=st.just({}),
    checkpoints=st.lists(
        st.builds(CheckpointSummary, step=st.integers(), created_at=st.text(max_size=300)), max_size=10
    ),
    warnings=st.lists(st.text(max_size=600), max_size=8),
    ranks=st.just([]),
    stages=st.just([]),
    control_generation=st.integers(),
)


@given(progress=PROGRESS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_whatever_a_coordinator_says_the_status_is_one_that_the_api_server_takes(
    make_job: Any, running: Observed, progress: Progress
) -> None:
    """A tenant's pod must not be able to stop the operator from writing a status."""
    status = compute_status(make_job(), replace(running, progress=progress))
    _require_acceptable(status)


@given(
    verdict=st.builds(
        Verdict,
        outcome=st.sampled_from(["Succeeded", "Failed"]),
        reason=st.text(max_size=200),
        message=st.text(max_size=5000),
        step=st.integers(),
        checkpoint_step=st.none() | st.integers(),
        evaluation=st.dictionaries(st.text(max_size=70), st.floats(), max_size=40),
        digest=st.text(max_size=300),
        uri=st.text(max_size=3000),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_whatever_a_verdict_says_the_status_is_one_that_the_api_server_takes(
    make_job: Any, make_ended: Any, running: Observed, verdict: Verdict
) -> None:
    _require_acceptable(compute_status(make_job(), replace(running, pods=(make_ended(verdict),))))


def _require_acceptable(status: TrainingJobStatus) -> None:
    document = status.to_document()
    STATUS_SCHEMA.validate(document)
    names = [each["name"] for each in document["evaluation"]]
    assert len(set(names)) == len(names)
    integers = [value for value in document.values() if isinstance(value, int)]
    assert all(0 <= value < 2**53 for value in integers)
