"""What does not go with the warm-up of an indexer, which leaves the rest of the model as it is. Pure."""

from collections.abc import Iterator
from typing import Final

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.architecture import ARCHITECTURE_FIELD
from deepseek_workloads.plan.modules import INDEXER, fitting, holding_matrices
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_STAGE: Final = f"{ARCHITECTURE_FIELD}.indexer.stage warmup"


def trains_the_model(run: TrainingRun) -> Iterator[Problem]:
    """Settings that need gradients of the model: a run with them ends before its first step."""
    t = run.training
    if not _warms_up(run):
        return
    if t.lora is not None:
        yield _later("lora", f"rank {t.lora.rank}", "changes the indexer only")
    if t.loss_function is not None:
        yield _later("lossFunction", t.loss_function, "learns by the indexer's own loss only")
    if t.consolidation is not None:
        yield _later("consolidation", f"source {t.consolidation.source!r}", "holds all else still anyway")


def has_no_effect(run: TrainingRun) -> Iterator[Problem]:
    """Settings that nothing learns from, or that change what is to stay; begun jobs may have these."""
    t, indexer = run.training, run.architecture.indexer
    if not _warms_up(run) or indexer is None:
        return
    if t.distillation is not None:
        alpha = f"alpha {t.distillation.alpha:g}"
        yield _later("distillation", alpha, "learns by the indexer's own loss only")
    if t.pruning is not None:
        sparsity = f"sparsity {t.pruning.sparsity:g}"
        yield _later("pruning", sparsity, "leaves all else as it is, and channels would be closed for good")
    if t.quantisation is not None:
        matrices = fitting(holding_matrices(run.architecture), t.quantisation.modules)
        frozen = [name for name in matrices if INDEXER not in name]
        if frozen:
            yield Problem(
                "spec.training.quantisation.modules",
                ", ".join(t.quantisation.modules),
                f"must fit matrices of the indexer only with {_STAGE}, which leaves all else as it is: "
                f"{len(frozen)} others would be rounded, the first is {frozen[0]}",
                f"use model.layers.*{INDEXER}*, or leave it away and round in stage sparse",
                INVALID_TRAINING,
            )
    if indexer.loss_weight == 0:
        yield Problem(
            f"{ARCHITECTURE_FIELD}.indexer.lossWeight",
            "0",
            f"must be above 0 with {_STAGE}: nothing else is learnt",
            "use 1, or leave it away",
            INVALID_TRAINING,
        )


def _warms_up(run: TrainingRun) -> bool:
    """A user's own model or loop has no indexer of ours, and rules of its own."""
    own = run.model_function or run.training.entrypoint
    return run.architecture.warming_up and own is None


def _later(setting: str, value: str, why: str) -> Problem:
    return Problem(
        f"spec.training.{setting}",
        value,
        f"does not go with {_STAGE}, which {why}",
        f"leave {setting} away: warm up first, then train with it from that export, in stage sparse",
        INVALID_TRAINING,
    )
