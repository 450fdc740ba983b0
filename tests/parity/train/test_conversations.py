"""Supervised fine-tuning: packed conversations know nothing of each other, and only answers are learnt."""

import json
from pathlib import Path

import pytest
import torch
from training_cases import ARCHITECTURE, final_curve, run_config, train_alone, train_group, write_dataset

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import DatasetRun, Storage, TrainingRun
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.export.load import open_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.open import open_store

CHATS = 64
TEXT = "user: What comes after one? assistant: It is two.\n"
WIDE = ARCHITECTURE.model_copy(update={"vocab_size": 320})


def dataset(folder: Path, name: str, **changes: object) -> str:
    run = DatasetRun.model_validate(
        {
            "owner": {"namespace": "tests", "name": name, "uid": name},
            "raw_storage": {"uri": f"file://{folder}/raw-{name}"},
            "workers": {"num_nodes": 1},
            "storage": {"uri": f"file://{folder}/{name}"},
            "held_out_fraction": 0.2,
            "raw_sources": [{"name": name, "uri": f"file://{folder}/raw-{name}"}],
            **changes,
        }
    )
    verdict = prepare(run, open_store=open_store, executor=LocalExecutor(threads=1), report=lambda _: None)
    assert verdict.outcome == "Succeeded", verdict.message
    return run.storage.uri


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("chats")
    (folder / "raw-text").mkdir()
    (folder / "raw-chat").mkdir()
    for number in range(20):
        (folder / "raw-text" / f"{number}.txt").write_text(TEXT * 2 + str(number))
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"{number}?"},
                {"role": "assistant", "content": "yes" if number % 2 else "no, never"},
            ]
        }
        for number in range(CHATS)
    ]
    (folder / "raw-chat" / "0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = dataset(folder, "text", tokenizer={"vocab_size": 300})
    source = {"name": "chat", "uri": f"file://{folder}/raw-chat", "format": "chat"}
    return dataset(folder, "chat", raw_sources=[source], tokenizer_uri=f"{text}/manifest.json")


def fine_tuning(
    folder: Path, chats: str, name: str, *, world_size: int = 1, **changes: object
) -> TrainingRun:
    run = run_config(
        f"file://{folder}/{name}",
        chats,
        world_size=world_size,
        architecture=WIDE,
        objective="sft",
        **changes,
    )
    return run.model_copy(update={"data": run.data.model_copy(update={"sequence_length": 63})})


def answering(run: TrainingRun) -> TrainingRun:
    return run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"answers": 2})})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(folder: Path, chats: str) -> Verdict:
    return train_alone(answering(fine_tuning(folder, chats, "alone")))


def test_a_packed_document_is_read_as_if_it_were_alone(chats: str, folder: Path) -> None:
    run = fine_tuning(folder, chats, "unused")
    store = open_store(run.data.sources[0].storage)
    plan = sample_plan(run, [load_manifest(store, None)], [store])
    with BatchStream(plan, [store], rank=0, world_size=1, global_batch_size=4, micro_batch_size=4) as stream:
        rows = next(stream).rows
    assert rows.documents is not None
    model = DeepseekV3ForCausalLM(WIDE).double().eval()
    with torch.no_grad(), model.documents.within(rows.documents):
        together = model(rows.input_ids)
    documents = 0
    for ids, owners, logits in zip(rows.input_ids, rows.documents, together, strict=True):
        for number in range(int(owners.max()) + 1):
            own = owners == number
            with torch.no_grad():
                torch.testing.assert_close(logits[own], model(ids[own].unsqueeze(0))[0])
            documents += 1
    assert documents > len(rows.input_ids), "no row held two documents"


def test_the_loss_is_the_mean_over_answers_whatever_the_passes_and_ranks(
    alone: Verdict, folder: Path, chats: str
) -> None:
    runs = [
        fine_tuning(folder, chats, "passes", world_size=2, micro_batch_size=1),
        answering(fine_tuning(folder, chats, "shards", world_size=2, parallelism={"zero_stage": 3})),
    ]
    spread = train_group(runs, folder / "ranks")
    expected = final_curve(f"file://{folder}/alone")
    for run, verdict in zip(runs, spread, strict=True):
        for step, (loss, ids) in final_curve(run.storage.uri).items():
            assert ids == expected[step][1]
            assert loss == pytest.approx(expected[step][0], abs=2e-6)
        assert verdict.evaluation["held_out_loss"] == pytest.approx(
            alone.evaluation["held_out_loss"], abs=2e-6
        )
    answers = [{name: each.evaluation[name] for name in ("token_f1", "bleu")} for each in (alone, spread[1])]
    assert answers[0] == pytest.approx(answers[1])


def test_the_export_brings_the_chat_template(alone: Verdict, folder: Path) -> None:
    export = open_export(open_store(Storage(uri=f"file://{folder}/alone")), alone.digest)
    assert "assistant:" in json.loads(export.read("tokenizer_config.json"))["chat_template"]


def test_text_is_no_conversation(folder: Path) -> None:
    run = fine_tuning(folder, write_dataset(folder), "text")
    with pytest.raises(DatasetError, match="sources of format chat"):
        train_alone(run)
