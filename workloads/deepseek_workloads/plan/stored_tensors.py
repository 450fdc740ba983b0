"""Whether the tensors of a Hugging Face folder are those of a model, by names and shapes alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.plan.hugging_face_names import Place, place_of
from deepseek_workloads.plan.vision_tensors import PROJECTOR, VISION_TOWER

_NAMED = 8  # tensors in a message
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    places: Mapping[str, Place]  # by name on disk: of all that the model takes from there
    missing: tuple[str, ...]  # the model's names
    wrong: tuple[str, ...]  # on disk: too many, or of another shape

    @property
    def problem(self) -> str:
        """Empty: every number of every tensor has its place."""
        return "; ".join(
            f"{len(names)} {what}: {', '.join(names[:_NAMED])}"
            for what, names in (("missing", self.missing), ("too many or of another shape", self.wrong))
            if names
        )


def compare(
    stored: Mapping[str, Shape],
    expected: Mapping[str, Shape],
    *,
    architecture: Architecture,
    theirs: Architecture,
) -> Comparison:
    """`stored` by the name on disk, `expected` by the model's, which is of `architecture`. `theirs` is what
    config.json beside them tells of: it may lack an indexer, since one that is added to a model begins to
    learn, and what sees images; modules for more than the next token that it has may be left out."""
    places, wrong = {}, []
    lacks_indexer, lacks_vision = theirs.indexer is None, theirs.vision is None
    added = tuple([".indexer."] * lacks_indexer + [VISION_TOWER, PROJECTOR] * lacks_vision)
    if lacks_vision:  # then its names are those of a model of text
        architecture = architecture.model_copy(update={"vision": None})
    for name, shape in stored.items():
        place = place_of(name, shape, architecture, declared_nextn=theirs.num_nextn_predict_layers)
        if place is None:
            continue
        wanted = expected.get(place.parameter)
        if wanted is None or not _fits(place, wanted):
            has = "no such tensor" if wanted is None else f"{list(wanted)}"
            wrong.append(f"{name} of {list(shape)} (the model has {has})")
        places[name] = place
    covered = _covered(places.values())
    missing = (
        name
        for name, shape in expected.items()
        if covered.get(name, 0) < prod(shape) and not any(part in name for part in added)
    )
    return Comparison(places, tuple(missing), tuple(wrong))


def _covered(places: Iterable[Place]) -> dict[str, int]:
    """Numbers that come from somewhere, by the model's name."""
    covered: dict[str, int] = {}
    for place in places:
        covered[place.parameter] = covered.get(place.parameter, 0) + prod(place.shape)
    return covered


def _fits(place: Place, wanted: Shape) -> bool:
    """An expert has its part of every other dimension: one, or one of two beside each other."""
    if not place.single:
        return place.shape == wanted
    if len(wanted) != len(place.shape) or place.offset[0] >= wanted[0]:
        return False
    beside = 2 if place.parameter.endswith("gate_up_proj") else 1
    return (place.shape[1] * beside, *place.shape[2:]) == wanted[1:]
