"""What torchtitan is told of a model, and how its process answers. Here another program answers for it."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from torchtitan_peer import TORCHTITAN_SETTINGS, TimedStep, Torchtitan, dimensions
from training_step import MODELS, batch, our_model

from deepseek_workloads.plan.hugging_face_config import config_json

BENCH = Path(__file__).parents[3] / "bench"
SMALL = MODELS["8M"].model_copy(update={"vocab_size": 64, "num_hidden_layers": 2})


def _program(folder: Path, body: str) -> Path:
    program = folder / "program.py"
    program.write_text(
        f"import json, shutil, sys\nfor line in sys.stdin:\n    asked = json.loads(line)\n{body}"
    )
    return program


def _answers(folder: Path, version: str) -> Path:
    """A program that keeps what it is asked, and says that its torch has this version."""
    return _program(
        folder,
        f"""\
    if asked is None:
        print(json.dumps({{"loss": 9.0, "wall": 2.0, "cpu": 1.0}}), flush=True)
        continue
    for name in ("weights", "batch"):
        shutil.copy(asked[name], f"{folder}/{{name}}")
    open("{folder}/asked", "w").write(line)
    print(json.dumps({{"torch": "{version}", "torchtitan": "0.3.0"}}), flush=True)
""",
    )


def test_torch_is_the_same_on_both_sides() -> None:
    locked = (BENCH.parent / "uv.lock").read_text()
    version = re.search(r'name = "torch"\nversion = "([^"]+)"', locked)
    assert version is not None
    assert f"\ntorch=={version[1]} " in (BENCH / "peers" / "train.txt").read_text()


def test_a_model_in_terms_of_torchtitan() -> None:
    told = dimensions(config_json(MODELS["8M"], dtype="float32"), length=512)
    assert (told["dim"], told["vocab_size"], told["norm_epsilon"]) == (192, 8192, 1e-6)
    assert told["rope"] == {"dim": 16, "max_seq_len": 512, "theta": 10_000.0}
    layers = told["layers"]
    assert (layers["n_layers"], layers["n_dense_layers"], layers["n_heads"]) == (5, 1, 6)
    assert (layers["dense_hidden_dim"], layers["moe_hidden_dim"]) == (512, 192)
    assert (layers["num_experts"], layers["num_shared_experts"], layers["router_top_k"]) == (8, 1, 2)
    assert (layers["router_num_expert_groups"], layers["router_num_limited_groups"]) == (2, 1)
    assert (layers["router_score_func"], layers["router_route_norm"]) == ("sigmoid", True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_scaling", {"type": "yarn"}),
        ("tie_word_embeddings", True),
        ("num_nextn_predict_layers", 1),
        ("attention_bias", True),
    ],
)
def test_what_torchtitan_has_not_in_the_same_form_is_refused(key: str, value: object) -> None:
    config = {**config_json(MODELS["8M"], dtype="float32"), key: value}
    with pytest.raises(ValueError, match=key):
        dimensions(config, length=512)


def test_the_process_gets_our_weights_one_expert_a_tensor_and_our_batch(tmp_path: Path) -> None:
    ids = batch(SMALL, sequences=1, length=16)
    with Torchtitan(Path(sys.executable), _answers(tmp_path, torch.__version__)) as peer:
        peer.load(SMALL, torch.bfloat16, TORCHTITAN_SETTINGS[0], ids)
    asked = json.loads((tmp_path / "asked").read_text())
    weights = load_file(tmp_path / "weights")
    assert asked["bf16"] is True
    assert asked["loss_chunks"] == 8
    torch.testing.assert_close(load_file(tmp_path / "batch")["ids"], ids)
    fused = our_model(SMALL).state_dict()["model.layers.1.mlp.experts.gate_up_proj"]
    for expert in range(8):
        parts = [
            weights[f"model.layers.1.mlp.experts.{expert}.{part}_proj.weight"] for part in ("gate", "up")
        ]
        torch.testing.assert_close(torch.cat(parts), fused[expert])


def test_a_step_is_timed_by_the_process_itself(tmp_path: Path) -> None:
    with Torchtitan(Path(sys.executable), _answers(tmp_path, torch.__version__)) as peer:
        assert peer.step() == TimedStep(loss=9.0, wall=2.0, cpu=1.0)


def test_another_torch_in_its_environment_is_refused(tmp_path: Path) -> None:
    with (
        Torchtitan(Path(sys.executable), _answers(tmp_path, "2.0.0")) as peer,
        pytest.raises(RuntimeError, match=r"torch 2\.0\.0 in torchtitan's environment"),
    ):
        peer.load(SMALL, torch.float32, TORCHTITAN_SETTINGS[0], batch(SMALL, sequences=1, length=16))


def test_a_process_that_ends_is_an_error_with_its_status(tmp_path: Path) -> None:
    with (
        Torchtitan(Path(sys.executable), _program(tmp_path, "    sys.exit(3)\n")) as peer,
        pytest.raises(RuntimeError, match="ended with 3"),
    ):
        peer.step()
