"""LoRA adapts an export: it starts as the export was, changes what it targets only, and exports no more."""

import pytest
import torch
from training_cases import ARCHITECTURE, final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.contract.architecture import Attention, HeadGate
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.objective import Lora
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.export.load import open_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.modules import fitting, linear_names
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.lora import A, B, add_lora
from deepseek_workloads.train.refused import SettingRefused

TARGETS = ["model.layers.*.self_attn.kv_b_proj"]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    folder = tmp_path_factory.mktemp("lora")
    dataset = write_dataset(folder)
    base = train_alone(run_config(f"file://{folder}/base", dataset))
    adapted = train_alone(
        run_config(
            f"file://{folder}/adapted",
            dataset,
            init_from={"uri": base.uri},
            lora={"rank": 4, "targets": TARGETS},
            optimizer={"learning_rate": 3e-2},
        )
    )
    return {"base": base, "adapted": adapted}


def state(verdict: Verdict) -> dict[str, torch.Tensor]:
    return open_export(open_store(Storage(uri=verdict.uri), environ={})).state(ARCHITECTURE)


def curve(verdict: Verdict) -> dict[int, float]:
    storage = verdict.uri.rpartition("/exports/")[0]
    return {step: loss for step, (loss, _) in final_curve(storage).items()}


def test_it_starts_where_the_export_was_and_gets_better(verdicts: dict[str, Verdict]) -> None:
    losses = curve(verdicts["adapted"])
    assert losses[1] < curve(verdicts["base"])[6]
    figures = {name: verdict.evaluation["held_out_loss"] for name, verdict in verdicts.items()}
    assert figures["adapted"] < figures["base"]


def test_only_targets_change_and_by_their_rank(verdicts: dict[str, Verdict]) -> None:
    before, after = state(verdicts["base"]), state(verdicts["adapted"])
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    biases = {name for name in changed if name.endswith("e_score_correction_bias")}
    assert changed - biases == {f"model.layers.{layer}.self_attn.kv_b_proj.weight" for layer in (0, 1)}
    for name in changed - biases:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 4


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("targets", [Lora().targets, ["*"]], ids=["default", "everything"])
def test_what_is_adapted_is_every_target_that_is_a_product_and_the_model_still_learns(
    targets: list[str], tied: bool
) -> None:
    gates = Attention(head_gate=HeadGate())
    architecture = ARCHITECTURE.model_copy(update={"attention": gates, "tie_word_embeddings": tied})
    model = DeepseekV3ForCausalLM(architecture)
    model.init_weights(1)
    add_lora(model, Lora(targets=targets))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith((A, B)):
            torch.nn.init.normal_(parameter, std=0.02)
    model.loss(torch.randint(64, (2, 9))).loss.backward()
    adapted = {name.removesuffix(f".{A}") for name, _ in model.named_parameters() if name.endswith(f".{A}")}
    assert adapted == set(fitting(linear_names(architecture), targets))
    learnt = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learnt == {f"{name}.{matrix}" for name in adapted for matrix in (A, B)}


@pytest.mark.parametrize("target", ["lm_head", "model.layers.*.self_attn.head_gate", "*.embed_tokens"])
def test_a_target_that_is_no_product_is_refused(target: str) -> None:
    gates = Attention(head_gate=HeadGate())
    model = DeepseekV3ForCausalLM(ARCHITECTURE.model_copy(update={"attention": gates}))
    with pytest.raises(SettingRefused, match="fit no matrix"):
        add_lora(model, Lora(targets=[target]))


def test_targets_that_fit_nothing_are_refused() -> None:
    with pytest.raises(SettingRefused, match=r"q_a_proj"):
        add_lora(DeepseekV3ForCausalLM(ARCHITECTURE), Lora(targets=["*.no_such"]))
