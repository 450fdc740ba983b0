"""What begins at random beside a model of text must be free to learn; a ViT folder must be what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from deepseek_workloads.contract.architecture import Vision
from deepseek_workloads.contract.objective import Lora
from deepseek_workloads.contract.run_config import (
    Data,
    InitialExport,
    Owner,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.launch.initial_model import initial_model_problems
from deepseek_workloads.launch.initial_vision import initial_vision_problems
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.tensors import parameter_shapes
from deepseek_workloads.plan.vision_tensors import tower_shapes
from deepseek_workloads.store.file import FileObjectStore

TEXT = PRESETS["transformer-5m"].model_copy(
    update={"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "vocab_size": 320}
)
VISION = Vision(
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
    image_token_id=2,
)
SEEING = TEXT.model_copy(update={"vision": VISION})
LAST = "layers.0.mlp.fc2.weight"


def run(folder: Path, *, encoder: bool = False, **training: object) -> TrainingRun:
    storage = Storage(uri=f"file://{folder}")
    return TrainingRun(
        owner=Owner(namespace="research", name="seeing", uid="uid-1"),
        architecture=SEEING,
        init_from=InitialExport(uri=storage.uri),
        vision_init_from=InitialExport(uri=f"{storage.uri}/vit") if encoder else None,
        data=Data(sources=[Source(name="squares", storage=storage)], sequence_length=64),
        training=Training(steps=10, global_batch_size=4, objective="sft", **training),
        workers=Workers(num_nodes=1),
        storage=storage,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a model of text."""
    (tmp_path / "config.json").write_text(json.dumps(config_json(TEXT)))
    weights = {name: np.ones(shape, dtype=np.float16) for name, shape in parameter_shapes(TEXT).items()}
    (tmp_path / "model.safetensors").write_bytes(save(weights))
    return tmp_path


@pytest.mark.parametrize(
    ("encoder", "training"),
    [(False, {}), (False, {"freeze": ["languageModel"]}), (True, {"freeze": ["visionTower"]})],
)
def test_what_sees_may_learn_beside_a_model_of_text(
    folder: Path, encoder: bool, training: dict[str, object]
) -> None:
    wanted = run(folder, encoder=encoder, **training)
    assert list(initial_model_problems(wanted, [], FileObjectStore(folder))) == []


@pytest.mark.parametrize(
    ("encoder", "training", "expected"),
    [
        (True, {"lora": Lora()}, "has no projector, and spec.training.lora"),
        (True, {"freeze": ["projector"]}, "has no projector, which spec.training.freeze"),
        (False, {"freeze": ["visionTower"]}, "has no visionTower, which spec.training.freeze"),
    ],
)
def test_random_weights_that_may_not_learn_are_refused(
    folder: Path, encoder: bool, training: dict[str, object], expected: str
) -> None:
    wanted = run(folder, encoder=encoder, **training)
    (problem,) = initial_model_problems(wanted, [], FileObjectStore(folder))
    assert expected in problem


@pytest.mark.parametrize(
    ("config", "tensor", "expected"),
    [
        ({}, np.ones((8, 16)), None),
        ({"hidden_size": 12}, np.ones((8, 16)), "hidden_size is 12 there, 8 in spec.model.vision"),
        ({"model_type": "clip"}, np.ones((8, 16)), "model_type is 'clip'; only 'vit'"),
        ({}, None, f"1 missing: model.vision_tower.{LAST}"),
        ({}, np.ones((8, 15)), f"{LAST} of [8, 15] (the model has [8, 16])"),
        ({}, np.full((8, 16), np.nan), f"1 tensors hold NaN or infinite numbers: {LAST}"),
    ],
    ids=["its own", "another size", "another kind", "missing", "another shape", "no numbers"],
)
def test_a_folder_of_an_encoder_is_held_against_the_model(
    tmp_path: Path, config: dict[str, object], tensor: np.ndarray | None, expected: str | None
) -> None:
    of_vision = {
        "model_type": "vit",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    (tmp_path / "config.json").write_text(json.dumps({**of_vision, **config}))
    weights = {name: np.ones(shape) for name, shape in tower_shapes(VISION).items() if name != LAST}
    weights |= {LAST: tensor} if tensor is not None else {}
    (tmp_path / "model.safetensors").write_bytes(save(weights))

    problems = list(initial_vision_problems(SEEING, FileObjectStore(tmp_path)))

    assert [expected in problem for problem in problems] == ([True] if expected else [])
