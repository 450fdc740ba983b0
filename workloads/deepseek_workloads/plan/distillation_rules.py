"""Whether what a teacher foresaw, stored beforehand, fits how a run reads its data. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_FIELD = "spec.training.distillation.teacherLogits"


def one_teacher(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.distillation
    if wanted is not None and (wanted.teacher is None) == (wanted.teacher_logits is None):
        yield Problem(
            "spec.training.distillation",
            "none of them" if wanted.teacher is None else "both",
            "needs exactly one of teacher and teacherLogits",
            "name a model, or the prefix of what one foresees",
            INVALID_TRAINING,
        )


def stored_logits(run: TrainingRun) -> Iterator[Problem]:
    """They are of whole windows of running text, as the teacher was shown them."""
    wanted = run.training.distillation
    if wanted is None or wanted.teacher_logits is None:
        return
    t = run.training
    cut = [stage for stage in t.curriculum if stage.sequence_length is not None]
    not_with = {
        "spec.training.objective": ("sft", "they are of running text, not of conversations")
        if t.objective == "sft"
        else None,
        "spec.training.curriculum": (
            f"{len(cut)} stages with a sequenceLength",
            "they are of whole sequences",
        )
        if cut
        else None,
        "spec.data.documentMask": ("true", "the teacher saw from one document into the next")
        if run.data.document_mask
        else None,
        "spec.training.findMicroBatchSize": ("true", "its made-up sequences have no teacher's logits")
        if t.find_micro_batch_size
        else None,
    }
    for field, refused in not_with.items():
        if refused is not None:
            value, why = refused
            yield Problem(
                field,
                value,
                f"does not go with {_FIELD}: {why}",
                f"use distillation.teacher, or leave {field.rpartition('.')[2]} away",
                INVALID_TRAINING,
            )
