"""A Hugging Face folder without our manifest is judged by what lies in it, before any worker exists: to start
from, and to learn from."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.objective import Consolidation
from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import (
    Data,
    Distillation,
    InitialExport,
    Owner,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.launch.epochs import epoch_beginner
from deepseek_workloads.launch.initial_model import initial_model_problems, teacher_problems
from deepseek_workloads.launch.preflight import preflight
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.tensors import parameter_shapes
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import NotFound
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.store.open import open_store

ARCHITECTURE = PRESETS["transformer-5m"].model_copy(
    update={"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 320}
)
SHAPES = parameter_shapes(ARCHITECTURE)
Write = Callable[..., list[str]]


@pytest.fixture
def problems_of(tmp_path: Path) -> Write:
    def write(
        *,
        tensors: dict[str, np.ndarray[Any, Any]] | None = None,
        config: dict[str, Any] | None = None,
        drop: str = "",
        files: dict[str, bytes] | None = None,
    ) -> list[str]:
        """A folder with these changes; what preflight says of it."""
        weights = {name: np.ones(shape, dtype=np.float16) for name, shape in SHAPES.items() if name != drop}
        contents = {
            "config.json": json.dumps({**config_json(ARCHITECTURE), **(config or {})}).encode(),
            "model.safetensors": save({**weights, **(tensors or {})}),
            **(files or {}),
        }
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        return list(initial_model_problems(_run(tmp_path), [], FileObjectStore(tmp_path)))

    return write


def _run(folder: Path) -> TrainingRun:
    storage = Storage(uri=f"file://{folder}")
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="uid-1"),
        architecture=ARCHITECTURE,
        init_from=InitialExport(uri=storage.uri),
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=64),
        training=Training(steps=10, global_batch_size=4),
        workers=Workers(num_nodes=1),
        storage=storage,
    )


def test_a_folder_of_the_models_own_tensors_may_start_without_a_tokenizer(problems_of: Write) -> None:
    assert problems_of() == []


def _cases() -> Iterator[tuple[dict[str, Any], str]]:
    last = "model.layers.1.mlp.up_proj.weight"
    infinite = np.ones(SHAPES[last], dtype=np.float16)
    infinite[3, 5] = np.inf
    yield {"drop": last}, f"1 missing: {last}"
    yield {"tensors": {"model.extra": np.ones(3)}}, "too many or of another shape: model.extra"
    behind = "model.layers.2.mlp.up_proj.weight"
    yield {"tensors": {behind: np.ones((24, 16))}}, f"{behind} of [24, 16] (the model has no such tensor)"
    yield {"tensors": {last: np.ones((24, 17))}}, f"{last} of [24, 17] (the model has [24, 16])"
    yield {"tensors": {last: infinite}}, f"1 tensors hold NaN or infinite numbers: {last}"
    yield {"config": {"model_type": "gpt2"}}, "model_type is 'gpt2'"
    yield {"config": {"hidden_act": "gelu"}}, "hidden_act is 'gelu'; only 'silu'"
    yield {"config": {"quantization_config": {"quant_method": "awq"}}}, "quantization_config is"
    yield {"config": {"hidden_size": 32}}, "hiddenSize"
    yield {"files": {"model.safetensors": bytes(20)}}, "no header of safetensors"
    index = json.dumps({"weight_map": {last: "model-00002-of-00002.safetensors"}}).encode()
    yield {"files": {"model.safetensors.index.json": index}}, "the first is model-00002-of-00002.safetensors"


@pytest.mark.parametrize(("change", "expected"), list(_cases()))
def test_what_is_wrong_with_a_folder_is_named(
    problems_of: Write, change: dict[str, Any], expected: str
) -> None:
    (problem,) = problems_of(**change)
    assert expected in problem


def test_tensors_that_a_model_makes_itself_are_passed_over(problems_of: Write) -> None:
    assert problems_of(tensors={"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(16)}) == []


@pytest.mark.parametrize(
    ("checkpoint", "consolidation", "looked_at"),
    [(False, None, True), (True, None, False), (True, Consolidation(source="docs"), True)],
)
def test_the_numbers_of_a_folder_are_looked_at_as_long_as_the_run_may_load_them(
    problems_of: Write,
    tmp_path: Path,
    checkpoint: bool,
    consolidation: Consolidation | None,
    looked_at: bool,
) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    problems_of(tensors={name: np.full(SHAPES[name], np.inf, dtype=np.float16)})
    run = _run(tmp_path)
    run = run.model_copy(
        update={
            "training": run.training.model_copy(update={"consolidation": consolidation}),
            "storage": Storage(uri=f"file://{tmp_path}/run"),
        }
    )
    if checkpoint:
        writer = epoch_beginner("", run, term=[1])(CommitLog(FileObjectStore(tmp_path / "run")))
        writer.commit_checkpoint(step=7, consumed_samples=28, tokens=1792, prefix="data/x/", files=[])

    refusals = preflight(run, lambda storage: open_store(storage, environ={}))

    of_weights = [refusal for refusal in refusals if "NaN or infinite" in refusal.message]
    assert bool(of_weights) == looked_at


def test_weights_in_pickle_are_not_read(problems_of: Write, tmp_path: Path) -> None:
    problems_of(files={"pytorch_model.bin": b""})
    (tmp_path / "model.safetensors").unlink()
    store = FileObjectStore(tmp_path)
    (problem,) = initial_model_problems(_run(tmp_path), [], store)
    assert "pickle" in problem


def test_where_nothing_lies_both_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json does not exist, nor a manifest\.json"):
        list(initial_model_problems(_run(tmp_path), [], FileObjectStore(tmp_path)))


def _taught(folder: Path, **architecture: object) -> TrainingRun:
    """A student of the model in `folder`, of its architecture with these changes."""
    run = _run(folder)
    distillation = Distillation(teacher=InitialExport(uri=f"file://{folder}"))
    return run.model_copy(
        update={
            "init_from": None,
            "architecture": run.architecture.model_copy(update=architecture),
            "training": run.training.model_copy(update={"distillation": distillation}),
            "storage": Storage(uri=f"file://{folder}/run"),
        }
    )


def test_a_folder_may_teach_a_model_of_another_size(problems_of: Write, tmp_path: Path) -> None:
    problems_of()
    student = _taught(tmp_path, hidden_size=8, num_hidden_layers=1)
    assert list(teacher_problems(student, [], FileObjectStore(tmp_path))) == []


_TEACHING = [case for case in _cases() if case[1] != "hiddenSize"]  # a student's may be another


@pytest.mark.parametrize(("change", "expected"), _TEACHING)
def test_what_is_wrong_with_a_folder_is_named_where_it_is_to_teach(
    problems_of: Write, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    problems_of(**change)
    (problem,) = teacher_problems(_taught(tmp_path), [], FileObjectStore(tmp_path))
    assert expected in problem


def test_a_folder_that_teaches_has_the_tokenizer_of_the_data_or_none(
    problems_of: Write, tmp_path: Path
) -> None:
    store = FileObjectStore(tmp_path)
    dataset = DatasetManifest(
        tokenizer_key="tokenizer.json",
        tokenizer_digest=sha256_digest(b"of the data"),
        vocab_size=ARCHITECTURE.vocab_size,
        eos_token_id=0,
        train=[],
        held_out=[],
        statistics={},
    )
    problems_of()
    assert list(teacher_problems(_taught(tmp_path), [dataset], store)) == []
    problems_of(files={"tokenizer.json": b"of the data"})
    assert list(teacher_problems(_taught(tmp_path), [dataset], store)) == []
    problems_of(files={"tokenizer.json": b"another"})
    (problem,) = teacher_problems(_taught(tmp_path), [dataset], store)
    assert "spec.tokenizer.uri" in problem


def test_where_no_teacher_lies_the_field_and_both_kinds_are_named(tmp_path: Path) -> None:
    refusals = preflight(_taught(tmp_path), lambda storage: open_store(storage, environ={}))
    (message,) = [each.message for each in refusals if "distillation" in each.message]
    assert message.startswith("spec.training.distillation.teacher: ")
    assert "config.json does not exist, nor a manifest.json" in message
