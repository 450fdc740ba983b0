"""Whether a model that was trained elsewhere computes what a run's model does, so that its weights can start
the run: by their architectures alone. Preflight asks it, and the trainer again. No torch.
"""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture, Attention
from deepseek_workloads.contract.recipe import differences
from deepseek_workloads.plan.architecture import unread_sizes
from deepseek_workloads.plan.hugging_face_config import architecture_of, config_json

_NAMED = 8  # differences in a message
# Fields of training, not of the weights: a run may set them anew.
_FREE = (
    "dropout",
    "attention.headGate.penaltyWeight",
    "initializerRange",
    "initialization",
    "mtpLossWeight",
    "indexer.stage",
    "indexer.lossWeight",
    "moe.biasUpdateSpeed",
    "moe.sequenceBalanceLossWeight",
    "moe.loadBalanceLossWeight",
    "moe.expertCapacityFactor",
)


def architecture_problem(ours: Architecture, theirs: Architecture, *, uri: str) -> str | None:
    """`ours` of the run, `theirs` of what lies at `uri`, which may lack an indexer or eyes, and have more
    modules for more than the next token. None: it can start the run."""
    different = list(_differences(ours, theirs))
    if not different:
        return None
    return (
        f"{uri}: its architecture is not that of spec.model ({'; '.join(different[:_NAMED])}): name its "
        "preset, and its values in spec.model.architecture (python -m deepseek_workloads.plan "
        "--hugging-face config.json writes them)"
    )


def _differences(ours: Architecture, theirs: Architecture) -> Iterator[str]:
    """In what decides the weights."""
    wanted = ours.num_nextn_predict_layers
    if theirs.num_nextn_predict_layers > wanted:  # what is left out is not missed
        theirs = theirs.model_copy(update={"num_nextn_predict_layers": wanted})
    if theirs.indexer is None:  # one that is added begins to learn
        theirs = theirs.model_copy(update={"indexer": ours.indexer})
    if theirs.vision is None:  # what sees begins to learn, or comes from another checkpoint
        ours = ours.model_copy(update={"vision": None})
    # By the same way, on which what is left to a default gets its value.
    both = (theirs, architecture_of(config_json(ours)))
    documents = (_with_sizes(each).model_dump(mode="json", by_alias=True) for each in both)
    for line in differences(*documents):
        if not line.startswith(_FREE):
            yield line


def _with_sizes(architecture: Architecture) -> Architecture:
    """Of attention: what is left to follow from other sizes may also be written out, and what its kind does
    not read says nothing."""
    attention = architecture.attention
    sizes = {"num_key_value_heads": architecture.key_value_heads, "head_dim": architecture.head_dim}
    sizes |= {name: Attention.model_fields[name].default for name in unread_sizes(attention)}
    return architecture.model_copy(update={"attention": attention.model_copy(update=sizes)})
