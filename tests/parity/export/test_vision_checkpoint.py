"""A Hugging Face ViT folder in object storage gives an image encoder its weights, in both spellings."""

import json
from pathlib import Path

import pytest
import torch
from loading import Alone
from safetensors.torch import save_file
from small_architectures import SEEING
from transformers import ViTConfig, ViTModel

from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.start import open_vision_checkpoint
from deepseek_workloads.export.stream_weights import load_vision_weights
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.vision_tensors import VISION_TOWER
from deepseek_workloads.store.file import FileObjectStore

VISION = SEEING.vision
assert VISION is not None
_OLD = (
    ("layers.", "encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
)


@pytest.fixture
def vit() -> ViTModel:
    torch.manual_seed(3)
    return ViTModel(ViTConfig(**VISION.model_dump(exclude={"image_mean", "image_std", "image_token_id"})))


def as_published(name: str) -> str:
    for new, old in _OLD:
        name = name.replace(new, old)
    return f"vit.{name}"


def made() -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(SEEING)
    model.init_weights(2)
    return model


def assert_loaded(folder: Path, vit: ViTModel) -> None:
    model, before = made(), made().state_dict()
    reader = open_vision_checkpoint(FileObjectStore(folder), SEEING)

    load_vision_weights(reader, model, SEEING, group=Alone())

    theirs = vit.state_dict()
    for name, tensor in model.state_dict().items():
        expected = theirs[name.removeprefix(VISION_TOWER)] if name.startswith(VISION_TOWER) else before[name]
        torch.testing.assert_close(tensor, expected, atol=0, rtol=0, msg=name)


def test_a_folder_that_transformers_has_saved(tmp_path: Path, vit: ViTModel) -> None:
    vit.save_pretrained(tmp_path)

    assert_loaded(tmp_path, vit)


def test_a_folder_of_a_classifier_with_the_names_of_the_published_ones(tmp_path: Path, vit: ViTModel) -> None:
    vit.config.save_pretrained(tmp_path)
    tensors = {as_published(name): tensor for name, tensor in vit.state_dict().items()}
    save_file({**tensors, "classifier.weight": torch.zeros(2, 24)}, tmp_path / "model.safetensors")

    assert_loaded(tmp_path, vit)


def test_another_encoder_is_refused_by_its_config(tmp_path: Path, vit: ViTModel) -> None:
    vit.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "patch_size": 6, "hidden_act": "relu"}))

    with pytest.raises(ExportError) as refusal:
        open_vision_checkpoint(FileObjectStore(tmp_path), SEEING)

    assert "patch_size is 6 there, 4 in spec.model.vision" in str(refusal.value)
    assert "hidden_act is 'relu'; only 'gelu' can be loaded" in str(refusal.value)


def test_a_missing_tensor_is_named_and_nothing_is_loaded(tmp_path: Path, vit: ViTModel) -> None:
    vit.config.save_pretrained(tmp_path)
    tensors = {name: value for name, value in vit.state_dict().items() if name != "layers.1.mlp.fc1.bias"}
    save_file(tensors, tmp_path / "model.safetensors")
    model, before = made(), made().state_dict()
    reader = open_vision_checkpoint(FileObjectStore(tmp_path), SEEING)

    with pytest.raises(ExportError, match=r"missing: model\.vision_tower\.layers\.1\.mlp\.fc1\.bias"):
        load_vision_weights(reader, model, SEEING, group=Alone())

    torch.testing.assert_close(dict(model.state_dict()), dict(before), atol=0, rtol=0)
