"""The tensors of a vision tower and its projector, by name and shape.

Below the tower's prefix the names are those of transformers' ViTModel; the projector's are LLaVA's.
"""

from deepseek_workloads.contract.architecture import NUM_CHANNELS, Architecture, Vision

VISION_TOWER, PROJECTOR = "model.vision_tower.", "model.multi_modal_projector."
Shape = tuple[int, ...]


def vision_shapes(architecture: Architecture) -> dict[str, Shape]:
    """In the order of the module; none of a model of text alone."""
    v = architecture.vision
    if v is None:
        return {}
    hidden = architecture.hidden_size
    return {
        **{f"{VISION_TOWER}{name}": shape for name, shape in tower_shapes(v).items()},
        **_linear(f"{PROJECTOR}linear_1", v.hidden_size, hidden),
        **_linear(f"{PROJECTOR}linear_2", hidden, hidden),
    }


def tower_shapes(v: Vision) -> dict[str, Shape]:
    """By ViTModel's names."""
    hidden = v.hidden_size
    shapes: dict[str, Shape] = {
        "embeddings.cls_token": (1, 1, hidden),
        "embeddings.position_embeddings": (1, v.num_patches + 1, hidden),
        "embeddings.patch_embeddings.projection.weight": (hidden, NUM_CHANNELS, v.patch_size, v.patch_size),
        "embeddings.patch_embeddings.projection.bias": (hidden,),
    }
    for index in range(v.num_hidden_layers):
        shapes |= _layer(f"layers.{index}", v)
    return shapes | _norm("layernorm", hidden)


def _layer(prefix: str, v: Vision) -> dict[str, Shape]:
    hidden = v.hidden_size
    shapes: dict[str, Shape] = {}
    for name in ("q_proj", "k_proj", "v_proj"):
        shapes |= _linear(f"{prefix}.attention.{name}", hidden, hidden, bias=v.qkv_bias)
    return {
        **shapes,
        **_linear(f"{prefix}.attention.o_proj", hidden, hidden),
        **_norm(f"{prefix}.layernorm_before", hidden),
        **_norm(f"{prefix}.layernorm_after", hidden),
        **_linear(f"{prefix}.mlp.fc1", hidden, v.intermediate_size),
        **_linear(f"{prefix}.mlp.fc2", v.intermediate_size, hidden),
    }


def _linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Shape]:
    weight: dict[str, Shape] = {f"{name}.weight": (outputs, inputs)}
    return weight | {f"{name}.bias": (outputs,)} if bias else weight


def _norm(name: str, features: int) -> dict[str, Shape]:
    return {f"{name}.weight": (features,), f"{name}.bias": (features,)}
