"""A teacher beside the student: an export of ours, or a folder that transformers has written."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_cases import ARCHITECTURE, final_curve, run_config, train_alone, train_group, write_dataset
from transformers import AutoConfig, AutoModelForCausalLM

from deepseek_workloads.contract.architecture import Architecture, Attention, Indexer
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import InitialExport, Storage
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import load_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.store.interface import NotFound, ObjectStore
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.group import LocalGroup
from deepseek_workloads.train.teacher import load_teacher

PLAIN = ARCHITECTURE.model_copy(
    update={
        "attention": Attention(kind="gqa", num_key_value_heads=1, head_dim=16),
        "moe": None,
        "tie_word_embeddings": True,
    }
)
FAMILY = {"deepseek_v3": ARCHITECTURE, "llama, tied head": PLAIN}
FIELD = "spec.training.distillation.teacher"


def opened(storage: Storage) -> ObjectStore:
    return open_store(storage, environ={})


def taught_by(folder: Path | str, dtype: torch.dtype = torch.float32) -> DeepseekV3ForCausalLM:
    uri = folder if isinstance(folder, str) else f"file://{folder}"
    group = LocalGroup(rank=0, world_size=1, device=torch.device("cpu"))
    return load_teacher(InitialExport(uri=uri), opened, dtype=dtype, group=group)


def written_by_transformers(folder: Path, architecture: Architecture = ARCHITECTURE) -> torch.nn.Module:
    torch.manual_seed(1)
    config = AutoConfig.for_model(**config_json(architecture))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(folder)
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("architecture", FAMILY.values(), ids=FAMILY.keys())
def test_a_folder_of_transformers_foresees_what_it_does_there(
    architecture: Architecture, tmp_path: Path
) -> None:
    theirs = written_by_transformers(tmp_path, architecture)

    teacher = taught_by(tmp_path)

    tokens = torch.randint(0, architecture.vocab_size, (2, 12))
    assert not teacher.training
    with torch.no_grad():
        torch.testing.assert_close(teacher(tokens), theirs(tokens).logits, atol=2e-5, rtol=1e-4)


def trained(folder: Path, dataset: str, name: str, **changes: object) -> Verdict:
    verdict = train_alone(run_config(f"file://{folder}/{name}", dataset, **changes))  # type: ignore[arg-type]
    assert verdict.outcome == "Succeeded", verdict.message
    return verdict


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_nextn_predict_layers": 1},
        {"indexer": Indexer(index_n_heads=2, index_head_dim=8, index_topk=6)},
        {"moe": ARCHITECTURE.moe.model_copy(update={"load_balance_loss_weight": 0.1})},  # type: ignore[union-attr]
    ],
    ids=["latent attention", "tied head", "more than the next token", "indexer", "load-balance loss"],
)
def test_an_export_is_the_model_that_is_read_from_it_anywhere_else(
    dataset: str, tmp_path: Path, changes: dict[str, object], dtype: torch.dtype
) -> None:
    architecture = ARCHITECTURE.model_copy(update=changes)
    uri = trained(tmp_path, dataset, "teacher", steps=2, architecture=architecture).uri or ""

    found = taught_by(uri, dtype)

    expected = load_export(opened(Storage(uri=uri)), dtype=dtype).model
    assert found.architecture == expected.architecture
    assert {name: tensor.dtype for name, tensor in found.state_dict().items()} == {
        name: tensor.dtype for name, tensor in expected.state_dict().items()
    }
    torch.testing.assert_close(dict(found.state_dict()), dict(expected.state_dict()), atol=0, rtol=0)


def test_a_student_learns_the_same_from_an_export_and_from_a_folder_of_its_weights(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    export = trained(tmp_path, dataset, "teacher", steps=12).uri or ""
    shutil.copytree(export.removeprefix("file://"), tmp_path / "folder")
    (tmp_path / "folder/manifest.json").unlink()

    of_export = {"teacher": {"uri": export}, "alpha": 1.0}
    of_folder = {"teacher": {"uri": f"file://{tmp_path}/folder"}, "alpha": 1.0}
    trained(tmp_path, dataset, "of-export", distillation=of_export)
    trained(tmp_path, dataset, "of-folder", distillation=of_folder)
    trained(tmp_path, dataset, "alone")
    shared = run_config(f"file://{tmp_path}/shared", dataset, world_size=2, distillation=of_folder)
    (verdict,) = train_group([shared], tmp_path / "ranks")

    names = ("of-export", "of-folder", "alone", "shared")
    curves = {name: final_curve(f"file://{tmp_path}/{name}") for name in names}
    assert verdict.outcome == "Succeeded", verdict.message
    assert curves["of-export"] == curves["of-folder"] != curves["alone"]
    losses = {name: [loss for loss, _ in curves[name].values()] for name in names}
    assert losses["shared"] == pytest.approx(losses["of-folder"], abs=1e-4)
    assert losses["shared"] != pytest.approx(losses["alone"], abs=1e-4)


def test_a_folder_that_holds_no_numbers_is_refused_by_the_name_of_the_field(tmp_path: Path) -> None:
    written_by_transformers(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"][3, 5] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=rf"^{FIELD}: .*lm_head\.weight holds NaN or infinite numbers"):
        taught_by(tmp_path)


def test_a_tensor_that_a_folder_lacks_is_named_after_the_field(tmp_path: Path) -> None:
    written_by_transformers(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=rf"^{FIELD}: .*1 missing: model\.norm\.weight"):
        taught_by(tmp_path)


def test_where_nothing_lies_the_field_and_both_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=rf"^{FIELD}: .*config\.json does not exist, nor a manifest\.json"):
        taught_by(tmp_path)
