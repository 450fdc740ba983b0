"""What decides the sequence of weights that a run goes through: runs of one recipe may continue each other.

Not in it is what may change between them: pods, layout, the rhythm of checkpoints, where a dataset lies.
"""

from typing import Any, Final

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.objective import CurriculumStage
from deepseek_workloads.contract.optimization import Optimizer, Schedule
from deepseek_workloads.contract.run_config import Data, Distillation, TrainingRun
from deepseek_workloads.contract.sample_order import SampleRange, place_in_order
from deepseek_workloads.contract.wire import WireModel

_TRAINING_FIELDS = (
    "objective",
    "entrypoint",
    "loss_function",
    "freeze",
    "lora",
    "quantisation",
    "consolidation",
    "pruning",
    "distillation",
    "curriculum",
    "steps",
    "global_batch_size",
    "optimizer",
    "schedule",
    "precision",
    "precision_overrides",
    "gradient_clip_norm",
)
# What one side may not know, by the last name of its path: a digest may be left out, and a run that may be of
# any length has no steps.
_MAY_BE_UNKNOWN = ("digest", "initFromDigest", "steps")

_RECORDED_WHOLE: Final[dict[str, type[WireModel]]] = {
    "distillation": Distillation,
    "optimizer": Optimizer,
    "schedule": Schedule,
}

Recipe = dict[str, Any]


def recipe_of(run: TrainingRun) -> Recipe:
    """JSON values by the run config's paths. `steps` is in it where the learning rate's schedule ends there:
    a constant one may go on for longer."""
    document = run.model_dump(mode="json", by_alias=True)
    training = run.training.model_dump(mode="json", by_alias=True, include=set(_TRAINING_FIELDS))
    distillation = run.training.distillation
    if distillation is not None:
        read = {"teacher": distillation.teacher, "teacherLogits": distillation.teacher_logits}
        places = {name: place.uri if place else None for name, place in read.items()}
        training["distillation"] = {**training["distillation"], **places}
    if run.training.schedule.name == "constant":
        training["steps"] = None
    sources = [
        {"digest": source["digest"], "name": source["name"], "weight": source["weight"]}
        for source in document["data"]["sources"]
    ]
    return {
        "architecture": document["architecture"],
        "modelFunction": run.model_function,
        # `skip` counts as far as the checkpoint: see `up_to`.
        "data": {**document["data"], "sources": sources, "cacheBytes": None},
        "initFrom": run.init_from.uri if run.init_from else None,
        "visionInitFrom": run.vision_init_from.uri if run.vision_init_from else None,
        "initFromDigest": run.init_from.digest if run.init_from else None,
        "training": training,
    }


def model_digest(run: TrainingRun) -> str:
    """Of what decides the names and the shapes of a run's weights: checkpoints of another are refused."""
    document = run.architecture.to_json()
    return sha256_digest(document if run.model_function is None else document + run.model_function.encode())


def completed(recipe: Recipe) -> Recipe:
    """As an older version recorded it, with the settings that came since: it left them away. Of what is
    recorded whole only; a field that entered the recipe after the run config may have been in use."""
    whole = {"modelFunction": None, **recipe}
    if "data" in recipe:
        whole["data"] = {**_left_away(Data), **recipe["data"]}
    training = recipe.get("training", {})
    whole["training"] = {
        name: {**_left_away(_RECORDED_WHOLE[name]), **settings}
        if name in _RECORDED_WHOLE and settings is not None
        else settings
        for name, settings in training.items()
    }
    if "curriculum" in training:
        whole["training"]["curriculum"] = [
            {**_left_away(CurriculumStage), **stage} for stage in training["curriculum"]
        ]
    return whole


def _left_away(settings: type[WireModel]) -> dict[str, None]:
    fields = settings.model_fields
    return {field.alias or name: None for name, field in fields.items() if field.default is None}


def up_to(recipe: Recipe, consumed_samples: int) -> Recipe:
    """Without what only later samples feel: ranges to skip that begin further on in the order."""
    data = recipe.get("data", {})
    skip = data.get("skip") or []
    last = place_in_order(consumed_samples - 1, [SampleRange.model_validate(skipped) for skipped in skip])
    felt = [skipped for skipped in skip if skipped["fromSample"] <= last]
    return {**recipe, "data": {**data, "skip": felt}}


def differences(theirs: Any, ours: Any, *, path: str = "") -> list[str]:
    """`path: theirs there, ours here` for each value that differs. A field that one side lacks agrees with
    everything: an older version's record may not have it (see `completed`). Null says that something is left
    away, and agrees with nothing else."""
    unknown = None in (theirs, ours) and path.rpartition(".")[2] in _MAY_BE_UNKNOWN
    if unknown or theirs == ours:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            line
            for key in sorted(theirs.keys() & ours.keys())
            for line in differences(theirs[key], ours[key], path=f"{path}.{key}" if path else key)
        ]
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [
            line
            for index, (their, our) in enumerate(zip(theirs, ours, strict=True))
            for line in differences(their, our, path=f"{path}[{index}]")
        ]
    return [f"{path}: {theirs} there, {ours} here"]
