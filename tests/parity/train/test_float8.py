"""precision fp8: what is rounded and what is not, and that a model learns so."""

from pathlib import Path

import pytest
import torch
from torchao.float8.float8_linear import Float8Linear
from training_cases import ARCHITECTURE, final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.contract.architecture import Indexer
from deepseek_workloads.contract.optimization import PrecisionOverride
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.float8 import float8_grouped_linear
from deepseek_workloads.train.float8 import use_float8
from deepseek_workloads.train.refused import SettingRefused

CPU = torch.device("cpu")


def in_float8(*kept: str, indexer: bool = False) -> set[str]:
    changes = {"indexer": Indexer(index_n_heads=2, index_head_dim=16, index_topk=4)} if indexer else {}
    model = DeepseekV3ForCausalLM(ARCHITECTURE.model_copy(update=changes))
    names = list(model.state_dict())
    use_float8(model, [PrecisionOverride(modules=pattern, precision="bf16") for pattern in kept], device=CPU)
    assert list(model.state_dict()) == names
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, Float8Linear)
        or (isinstance(module, RoutedExperts) and module.linear is float8_grouped_linear)
    }


def test_the_layers_products_are_in_float8_and_nothing_that_chooses_or_ends() -> None:
    found = in_float8(indexer=True)
    assert {
        "model.layers.0.mlp.down_proj",
        "model.layers.1.mlp.experts",
        "model.layers.1.self_attn.o_proj",
    } <= found
    assert not [name for name in found if "indexer" in name or "gate" in name.split(".") or "lm_head" in name]


def test_what_an_override_names_keeps_its_own_numbers() -> None:
    assert in_float8("model.layers.0") == {
        name for name in in_float8() if not name.startswith("model.layers.0.")
    }


def test_a_gpu_without_float8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A100")
    with pytest.raises(SettingRefused, match=r"A100 has compute capability 8\.0.*need 9\.0.*use bf16"):
        use_float8(DeepseekV3ForCausalLM(ARCHITECTURE), [], device=torch.device("cuda"))


def test_sizes_without_a_matrix_for_float8_are_refused() -> None:
    changes = {"hidden_size": 40}
    with pytest.raises(SettingRefused, match="multiples of 16"):
        use_float8(
            DeepseekV3ForCausalLM(ARCHITECTURE.model_copy(update=changes)),
            [PrecisionOverride(modules="*self_attn*", precision="bf16")],
            device=CPU,
        )


def test_a_model_learns_as_it_does_in_bfloat16(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    curves = []
    for precision in ("bf16", "fp8"):
        run = run_config(f"file://{tmp_path}/{precision}", dataset, steps=30, precision=precision)
        assert train_alone(run).outcome == "Succeeded"
        curves.append([loss for _, (loss, _) in sorted(final_curve(run.storage.uri).items())])
    plain, rounded = (torch.tensor(curve) for curve in curves)
    assert not torch.equal(plain, rounded)
    assert (plain - rounded).abs().max() < 0.02 * (plain[0] - plain[-1])
