"""The status of a DeepSeekTrainingJob from what was observed. Pure; what is not seen now stays as it was."""

from typing import Any

from deepseek_operator.api.schema import MAX_MEASUREMENTS, measured
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.api.training_job_status import (
    CheckpointStatus,
    DatasetPin,
    ExportStatus,
    PlanStatus,
    TrainingJobStatus,
)
from deepseek_operator.resources.quantity import format_bytes
from deepseek_operator.status import conditions, text
from deepseek_operator.status.observed import Observed
from deepseek_operator.status.pod_state import verdict_of
from deepseek_operator.status.resized import resized
from deepseek_operator.status.run_status import CONDITIONS, common_fields
from deepseek_operator.status.view import View
from deepseek_workloads.contract.messages import Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.accelerators import Accelerator, accelerator_of
from deepseek_workloads.plan.estimate import Estimate, estimate
from deepseek_workloads.plan.pool import GPU_MEMORY_BYTES, smallest_pool
from deepseek_workloads.plan.replicas import replica_bytes
from deepseek_workloads.plan.step_time import estimated_tokens_per_second

_CONDITIONS = (
    CONDITIONS[0],
    conditions.datasets_ready,
    *CONDITIONS[1:],
    conditions.revision_recorded,
    conditions.healthy,
    resized,
)
_MAX_CHECKPOINTS = 10


def compute_status(job: DeepSeekTrainingJob, observed: Observed) -> TrainingJobStatus:
    """The whole new status; equal inputs give equal outputs but for times of transitions."""
    view = View(job, observed)
    verdict = view.outcome.verdict if view.outcome is not None else _at_rest(view)
    fields = common_fields(view, _CONDITIONS) | _from_run(job, observed)
    if observed.progress is not None:
        fields |= _from_progress(observed.progress, training=view.phase == "Training")
    if view.coordinator is not None and observed.outdated(view.coordinator):
        fields |= {"micro_batch_size": None}  # found for another number of processes
    if view.phase is None and conditions.silence(view) is not conditions.Silence.BRIEF:
        fields |= {"eta": ""}
    if verdict is not None:
        fields |= _from_verdict(verdict, observed)
    status = job.status.model_copy(update=fields)
    progress = text.percent(status.step, status.total_steps)
    return status.model_copy(update={"progress": progress if status.total_steps else ""})


def _at_rest(view: View) -> Verdict | None:
    """Where a suspended run stopped: its last checkpoint comes after the last look at its progress."""
    verdict = verdict_of(view.coordinator) if view.coordinator is not None else None
    return verdict if verdict is not None and verdict.outcome == "Stopped" else None


def build_plan(run: TrainingRun) -> PlanStatus:
    """What the run needs, from `plan.estimate`; how long it takes on a GPU that is known."""
    needed = estimate(run)
    gpu = accelerator_of(run.workers.gpu_product or "")
    pool = smallest_pool(
        run.architecture,
        sequence_length=run.data.sequence_length,
        precision=run.training.precision,
        gpu_memory_bytes=gpu.memory_bytes if gpu else GPU_MEMORY_BYTES,
    )
    kept = replica_bytes(run) if run.workers.gpus_per_node == 0 else 0  # a GPU's memory holds none
    return PlanStatus(
        parameters=needed.parameters,
        active_parameters=needed.active_parameters,
        flops_per_token=needed.flops_per_token,
        total_steps=run.training.steps,
        total_tokens=run.training.steps * needed.tokens_per_step,
        world_size=run.workers.world_size,
        micro_batch_size=needed.micro_batch_size,
        accumulation_steps=needed.passes,
        precision=run.training.precision,
        memory_per_rank=format_bytes(needed.memory.total),
        memory_per_node=format_bytes(needed.memory.total * run.workers.num_proc_per_node + kept),
        smallest_gpu_pool="none" if pool is None else str(pool),
        **_pace(run, needed, gpu),
    )


def _pace(run: TrainingRun, needed: Estimate, gpu: Accelerator | None) -> dict[str, Any]:
    if gpu is None or run.workers.gpus_per_node == 0:
        return {}
    rate = estimated_tokens_per_second(run, needed, gpu)
    seconds = run.training.steps * needed.tokens_per_step / rate
    return {"estimated_tokens_per_second": round(rate), "estimated_duration": text.duration(seconds)}


def _from_run(job: DeepSeekTrainingJob, observed: Observed) -> dict[str, Any]:
    run = observed.run
    if not isinstance(run, TrainingRun):
        return {}
    plan = job.status.plan
    same = (
        plan is not None
        and job.status.run_config_digest == observed.run_config_digest
        and plan.world_size == run.workers.world_size
    )
    resized = plan is not None and plan.world_size != run.workers.world_size
    return {
        **({"micro_batch_size": None} if resized else {}),
        "nodes": run.workers.num_nodes,
        "reduced": observed.size is not None and observed.size.reduced,
        "plan": plan if same and plan is not None else build_plan(run),
        "total_steps": run.training.steps,
        "datasets": [
            DatasetPin(name=source.name, uri=source.storage.uri, digest=source.digest or "")
            for source in run.data.sources
        ],
    }


def _from_progress(progress: Progress, *, training: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"eta": ""}
    if progress.step or progress.tokens:
        fields |= {"step": text.count(progress.step), "tokens": text.count(progress.tokens)}
    if progress.micro_batch_size is not None:
        fields["micro_batch_size"] = text.count(progress.micro_batch_size)
    if progress.data_path:
        fields["data_path"] = progress.data_path
    if progress.loss is not None:
        fields["loss"] = text.loss(progress.loss)
    if progress.learning_rate is not None:
        fields["learning_rate"] = measured(progress.learning_rate, digits=3)
    if progress.tokens_per_second is not None:
        fields["tokens_per_second"] = text.count(progress.tokens_per_second)
    if training and progress.eta_seconds is not None:
        fields["eta"] = text.duration(progress.eta_seconds)
    if progress.evaluation:
        fields["evaluation"] = text.named_values(progress.evaluation, limit=MAX_MEASUREMENTS)
    if progress.checkpoints:
        fields |= _checkpoints(progress)
    return fields


def _checkpoints(progress: Progress) -> dict[str, Any]:
    """The newest first."""
    newest = sorted(progress.checkpoints, key=lambda checkpoint: checkpoint.log_index, reverse=True)
    return {
        "checkpoints": [
            CheckpointStatus(
                step=text.count(checkpoint.step),
                epoch=text.count(checkpoint.epoch),
                created_at=text.short(checkpoint.created_at),
                size_bytes=text.count(checkpoint.size_bytes),
                log_index=text.count(checkpoint.log_index),
            )
            for checkpoint in newest[:_MAX_CHECKPOINTS]
        ],
        "last_checkpoint_step": text.count(newest[0].step),
    }


def _from_verdict(verdict: Verdict, observed: Observed) -> dict[str, Any]:
    fields: dict[str, Any] = {"eta": ""}
    if verdict.step:
        fields["step"] = text.count(verdict.step)
    if verdict.tokens:
        fields["tokens"] = text.count(verdict.tokens)
    if verdict.loss is not None:
        fields["loss"] = text.loss(verdict.loss)
    if verdict.tokens_per_second is not None:
        fields["tokens_per_second"] = text.count(verdict.tokens_per_second)
    if verdict.evaluation:
        fields["evaluation"] = text.named_values(verdict.evaluation, limit=MAX_MEASUREMENTS)
    if verdict.checkpoint_step is not None:
        fields["last_checkpoint_step"] = text.count(verdict.checkpoint_step)
    elif verdict.outcome == "Succeeded":
        fields["last_checkpoint_step"] = text.count(verdict.step)
    if verdict.digest:
        fields["export"] = ExportStatus(
            uri=text.uri(verdict.uri), digest=text.short(verdict.digest), revision=observed.revision
        )
    return fields
