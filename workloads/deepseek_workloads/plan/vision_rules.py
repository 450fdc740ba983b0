"""Whether a run with images, or with parts of the model frozen, goes together. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.architecture import VISION_FIELD
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_FREEZE = "spec.training.freeze"
_PARTS = ("visionTower", "projector", "languageModel")


def learns_from_conversations(run: TrainingRun) -> Iterator[Problem]:
    """Images are whole in packed documents only, whose tokens say which of them are words."""
    if run.architecture.vision is not None and run.training.objective != "sft":
        yield Problem(
            "spec.training.objective",
            run.training.objective,
            "must be sft with model.vision: images stay whole in packed documents, whose words are predicted",
            "use sft (a text with images is learnt as a whole), or leave vision away",
            INVALID_TRAINING,
        )


def not_with(run: TrainingRun) -> Iterator[Problem]:
    """Settings that run the model over tokens alone."""
    if run.architecture.vision is None:
        return
    given = {
        "distillation": run.training.distillation,  # its teacher is shown no images
        "consolidation": run.training.consolidation,
        "entrypoint": run.training.entrypoint,
    }
    for setting, value in given.items():
        if value is not None:
            yield Problem(
                f"spec.training.{setting}",
                repr(value) if isinstance(value, str) else "given",
                "does not go with model.vision: it works on tokens alone",
                f"leave {setting} away, or train a model without vision",
                INVALID_TRAINING,
            )


def freeze(run: TrainingRun) -> Iterator[Problem]:
    frozen, sees = run.training.freeze or [], run.architecture.vision is not None
    if len(set(frozen)) < len(frozen):
        yield _frozen(run, "names a part twice", f"use {', '.join(sorted(set(frozen)))}")
    if frozen and not sees:
        yield _frozen(
            run,
            "parts are those of a model with model.vision",
            "leave freeze away, or use lora, which freezes the model and trains matrices beside it",
        )
    elif set(frozen) == set(_PARTS):
        yield _frozen(run, "leaves nothing to train", "leave one of the three away: the projector is new")
    if frozen and run.training.lora is not None:
        yield _frozen(
            run,
            "does not go with lora, which freezes the whole model itself",
            "leave one of the two away",
        )
    loaded = run.init_from is not None
    if sees and "languageModel" in frozen and not loaded:
        yield _frozen(
            run,
            "keeps random weights of the language model as they are: spec.model.initFrom names no model",
            "name one in spec.model.initFrom, or train it",
        )
    if sees and "projector" in frozen and not loaded:
        yield _frozen(
            run,
            "keeps random weights of the projector as they are: spec.model.initFrom names no model that has "
            "one",
            "name a model that sees in spec.model.initFrom, or train it",
        )
    if sees and "visionTower" in frozen and not loaded and run.vision_init_from is None:
        yield _frozen(
            run,
            "keeps random weights of the encoder as they are: nothing is named that has others",
            "name a ViT in spec.model.vision.initFrom, or train it",
        )


def _frozen(run: TrainingRun, rule: str, remedy: str) -> Problem:
    return Problem(_FREEZE, ", ".join(run.training.freeze or []), rule, remedy, INVALID_TRAINING)


def vision_init_from(run: TrainingRun) -> Iterator[Problem]:
    if run.vision_init_from is not None and run.architecture.vision is None:
        yield Problem(
            f"{VISION_FIELD}.initFrom",
            run.vision_init_from.uri,
            "is for a model with vision",
            f"set {VISION_FIELD} to the values of its config.json",
            INVALID_TRAINING,
        )
