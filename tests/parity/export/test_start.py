"""A folder that transformers has written, without a manifest of ours, is a model to start from."""

import json
from pathlib import Path

import pytest
import torch
from loading import Alone, made
from safetensors.torch import save_file
from small_architectures import BASE, PLAIN
from transformers import AutoConfig, AutoModelForCausalLM

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.start import FolderReader, open_initial_model
from deepseek_workloads.export.stream_weights import load_weights
from deepseek_workloads.model.hugging_face import from_hugging_face, to_hugging_face
from deepseek_workloads.plan.configs.classes import DEFAULTS, completed
from deepseek_workloads.plan.hugging_face_config import architecture_of, config_json
from deepseek_workloads.store.file import FileObjectStore

FAMILY = {
    "deepseek_v3": BASE,
    "llama, tied head": PLAIN["grouped queries, tied head"],
    "mistral": PLAIN["sliding window"],
    "mixtral": PLAIN["softmax gates"],
}


@pytest.mark.parametrize("architecture", FAMILY.values(), ids=FAMILY.keys())
def test_a_folder_of_transformers_computes_the_same_here(architecture: Architecture, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = AutoConfig.for_model(**config_json(architecture))
    theirs = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    theirs.save_pretrained(tmp_path, max_shard_size="50KB")
    source = open_initial_model(FileObjectStore(tmp_path))
    assert isinstance(source, FolderReader)
    assert len(source.weights()) > 1

    read = source.architecture()
    streamed, at_once = made(read, seed=2), made(read, seed=3)
    load_weights(source, streamed, read, group=Alone())
    at_once.load_state_dict(source.state(read))

    tokens = torch.randint(0, read.vocab_size, (2, 12))
    expected = theirs(tokens).logits
    for model in (streamed, at_once):
        torch.testing.assert_close(model.eval()(tokens), expected, atol=2e-5, rtol=1e-4)


def test_a_tensor_that_a_folder_lacks_is_named(tmp_path: Path) -> None:
    tensors = dict(to_hugging_face(made(BASE, seed=1).state_dict().items(), BASE))
    del tensors["model.norm.weight"]
    (tmp_path / "config.json").write_text(json.dumps(config_json(BASE)))
    save_file(tensors, tmp_path / "model.safetensors")
    source = open_initial_model(FileObjectStore(tmp_path))

    with pytest.raises(ExportError, match=r"1 missing: model\.norm\.weight"):
        load_weights(source, made(BASE, seed=2), BASE, group=Alone())


@pytest.mark.parametrize("kind", DEFAULTS)
def test_what_a_config_leaves_unsaid_is_what_its_class_says(kind: str) -> None:
    theirs = AutoConfig.for_model(kind).to_dict()

    ours = {name: value for name, value in completed({"model_type": kind}).items() if name in theirs}

    assert ours == {name: theirs[name] for name in ours}
    assert architecture_of({"model_type": kind}) == _without_nextn(architecture_of(theirs))


def _without_nextn(architecture: Architecture) -> Architecture:
    """transformers counts one module for more than the next token, which its weights need not have."""
    return architecture.model_copy(update={"num_nextn_predict_layers": 0})


def in_blocks(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix in float8 and the factor of each of its blocks, as DeepSeek-V3 is published."""
    rows, columns = weight.shape
    padded = torch.zeros(-(-rows // 128) * 128, -(-columns // 128) * 128)
    padded[:rows, :columns] = weight
    blocks = padded.unflatten(0, (-1, 128)).unflatten(2, (-1, 128))
    scales = blocks.abs().amax((1, 3)) / 448 + 1e-12
    scaled = (blocks / scales[:, None, :, None]).flatten(2).flatten(0, 1)[:rows, :columns]
    return scaled.to(torch.float8_e4m3fn), scales


def test_float8_with_factors_of_blocks_is_widened_while_it_is_read(tmp_path: Path) -> None:
    wide = BASE.model_copy(update={"hidden_size": 200, "intermediate_size": 300})
    plain = dict(to_hugging_face(made(wide, seed=1).state_dict().items(), wide))
    stored, expected = {}, {}
    for name, tensor in plain.items():
        stored[name] = expected[name] = tensor.clone()
        if name.endswith("proj.weight"):
            stored[name], scales = in_blocks(tensor)
            stored[f"{name}_scale_inv"] = scales
            factors = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)
            expected[name] = stored[name].float() * factors[: tensor.shape[0], : tensor.shape[1]]
    config = config_json(wide) | {
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(stored, tmp_path / "model.safetensors")
    source = open_initial_model(FileObjectStore(tmp_path))

    streamed = made(wide, seed=2)
    load_weights(source, streamed, wide, group=Alone())

    for state in (streamed.state_dict(), source.state(wide)):
        torch.testing.assert_close(dict(state), from_hugging_face(expected.items(), wide), atol=0, rtol=0)


def test_float8_without_factors_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_json(BASE)))
    save_file({"lm_head.weight": torch.zeros(8, 8).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")

    with pytest.raises(ExportError, match=r"lm_head\.weight in F8_E4M3 has no _scale_inv"):
        load_weights(open_initial_model(FileObjectStore(tmp_path)), made(BASE, seed=2), BASE, group=Alone())
