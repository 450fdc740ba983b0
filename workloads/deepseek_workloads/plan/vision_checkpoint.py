"""Whether a Hugging Face ViT checkpoint is the encoder of a model: its config.json, names, shapes. No torch.

Names are those of transformers' ViTModel today, of the years before, and of models that have one as `vit`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture, Vision
from deepseek_workloads.plan.hugging_face_names import Place
from deepseek_workloads.plan.stored_tensors import Comparison
from deepseek_workloads.plan.vision_tensors import VISION_TOWER, tower_shapes

_PREFIX = "vit."
_OF_HEADS = ("pooler.", "classifier.", "decoder.", "embeddings.mask_token")  # what tells classes, or paints
_RENAMED = (
    ("encoder.layer.", "layers."),
    ("attention.attention.query.", "attention.q_proj."),
    ("attention.attention.key.", "attention.k_proj."),
    ("attention.attention.value.", "attention.v_proj."),
    ("attention.output.dense.", "attention.o_proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)
# Of ViTConfig; a config.json leaves defaults out.
_DEFAULTS: Mapping[str, Any] = {
    name: Vision.model_fields[name].default
    for name in (
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("layer_norm_eps", "qkv_bias", "image_size", "patch_size"),
    )
}
_ONLY: Mapping[str, Any] = {"model_type": "vit", "hidden_act": "gelu", "num_channels": 3}


def parameter_of(stored: str) -> str | None:
    """The model's name of a tensor of such a checkpoint; None: the encoder has no use for it."""
    name = stored.removeprefix(_PREFIX)
    if name.startswith(_OF_HEADS):
        return None
    for old, new in _RENAMED:
        name = name.replace(old, new)
    return f"{VISION_TOWER}{name}"


def config_problems(config: Mapping[str, Any], architecture: Architecture) -> Iterator[str]:
    """In what its config.json is not `spec.model.vision`."""
    vision = architecture.vision
    if vision is None:
        yield "spec.model.vision is not set: nothing would take the weights"
        return
    for name, only in _ONLY.items():
        found = config.get(name, None if name == "model_type" else only)
        if found != only:
            yield f"{name} is {found!r}; only {only!r} can be loaded"
    for name, default in _DEFAULTS.items():
        found, wanted = _side(config.get(name, default)), getattr(vision, name)
        if found != wanted:
            yield f"{name} is {found!r} there, {wanted!r} in spec.model.vision"


def _side(value: Any) -> Any:
    """Of a square the one number that it is."""
    if isinstance(value, list | tuple) and len(set(value)) == 1:
        return value[0]
    return value


def compare_vision(stored: Mapping[str, tuple[int, ...]], architecture: Architecture) -> Comparison:
    """`stored` shapes by the name on disk."""
    assert architecture.vision is not None
    expected = {f"{VISION_TOWER}{name}": shape for name, shape in tower_shapes(architecture.vision).items()}
    places: dict[str, Place] = {}
    wrong = []
    for name, shape in stored.items():
        parameter = parameter_of(name)
        if parameter is None:
            continue
        wanted = expected.get(parameter)
        if wanted != shape:
            has = "no such tensor" if wanted is None else f"{list(wanted)}"
            wrong.append(f"{name} of {list(shape)} (the model has {has})")
        places[name] = Place(parameter, (0,) * len(shape), shape)
    found = {place.parameter for place in places.values()}
    return Comparison(places, tuple(name for name in expected if name not in found), tuple(wrong))
