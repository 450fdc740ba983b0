"""A config.json of another maker becomes a spec.model that means the same."""

import json
from pathlib import Path

import pytest
import yaml

from deepseek_operator.api.architecture import ArchitectureOverrides
from deepseek_workloads.contract.architecture import Architecture, Attention, RopeScaling
from deepseek_workloads.plan.__main__ import main
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.hugging_face_config import architecture_of, config_json
from deepseek_workloads.plan.model_spec import model_spec
from deepseek_workloads.plan.presets import PRESETS

TINY, PLAIN = PRESETS["deepseek-v3-tiny"], PRESETS["transformer-5m"]
WINDOW = Attention(kind="slidingWindow", num_key_value_heads=3, head_dim=32, sliding_window=100)
ARCHITECTURES = {
    **PRESETS,
    "one query projection": TINY.model_copy(update={"q_lora_rank": None, "hidden_size": 192}),
    "no scaling": PRESETS["deepseek-v3"].model_copy(update={"rope_scaling": None, "vocab_size": 1000}),
    "scaling": PLAIN.model_copy(
        update={"rope_scaling": RopeScaling(factor=4, original_max_position_embeddings=512)}
    ),
    "sliding window": PLAIN.model_copy(update={"attention": WINDOW, "rms_norm_eps": 1e-5}),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_the_spec_of_a_config_resolves_to_its_architecture(architecture: Architecture) -> None:
    architecture = architecture_of(config_json(architecture))

    spec = model_spec(architecture)

    overrides = ArchitectureOverrides.model_validate(spec["architecture"]).to_overrides()
    assert resolve(spec["preset"], overrides) == architecture


def test_the_command_prints_what_a_job_says_of_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "llama", "hidden_size": 256, "num_attention_heads": 8}))

    assert main(["--hugging-face", str(config)]) == 0

    printed, _, table = capsys.readouterr().out.partition("\n\n")
    assert yaml.safe_load(printed)["model"]["architecture"]["hiddenSize"] == 256
    assert "LlamaForCausalLM" in table


def test_a_config_of_another_family_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "gpt2"}))

    assert main(["--hugging-face", str(config)]) == 3

    assert "model_type is 'gpt2'" in capsys.readouterr().err
