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


def has_effect(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.distillation
    if wanted is not None and wanted.alpha == 0:
        yield Problem(
            "spec.training.distillation.alpha",
            "0",
            "must be above 0: it is the share of the teacher in the loss, which would be computed in vain",
            "use more than 0 and at most 1, or leave distillation away",
            INVALID_TRAINING,
        )


def stored_logits(run: TrainingRun) -> Iterator[Problem]:
    """They are of whole windows or conversations, as the teacher was shown them."""
    wanted = run.training.distillation
    if wanted is None or wanted.teacher_logits is None:
        return
    cut = [stage for stage in run.training.curriculum if stage.sequence_length is not None]
    if cut:
        yield Problem(
            "spec.training.curriculum",
            f"{len(cut)} stages with a sequenceLength",
            f"does not go with {_FIELD}: they are of whole sequences",
            "use distillation.teacher, or leave curriculum away",
            INVALID_TRAINING,
        )
