"""Supervised fine-tuning: packed conversations know nothing of each other, and only answers are learnt."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conversation_cases import FAR, WIDE, bucketed, fine_tuning, write_chats
from torch import Tensor
from training_cases import (
    MonitorAt,
    final_curve,
    log_entries,
    metric_lines,
    train_alone,
    train_group,
    write_dataset,
)

from deepseek_workloads.contract.architecture import Attention
from deepseek_workloads.contract.messages import Control, Verdict
from deepseek_workloads.contract.records import CheckpointRecord
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.loss_mask import with_mask
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.rows import build_rows
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.data.windows import separate
from deepseek_workloads.export.load import open_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.store.open import open_store


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_chats(tmp_path_factory.mktemp("chats"))


def answering(run: TrainingRun) -> TrainingRun:
    return run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"answers": 5})})


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


@dataclass(frozen=True)
class Spread:
    """By name, on two ranks."""

    runs: dict[str, TrainingRun]
    verdicts: dict[str, Verdict]


@pytest.fixture(scope="module")
def spread(folder: Path, chats: str) -> Spread:
    settings: dict[str, dict[str, Any]] = {
        "passes": {"micro_batch_size": 1},
        "shards": {"parallelism": {"zero_stage": 3}},
        "buckets": {"micro_batch_size": 2, "parallelism": {"zero_stage": 3}, "architecture": FAR},
    }
    runs = {name: fine_tuning(folder, chats, name, world_size=2, **given) for name, given in settings.items()}
    runs |= {"shards": answering(runs["shards"]), "buckets": bucketed(runs["buckets"])}
    verdicts = train_group(list(runs.values()), folder / "ranks")
    return Spread(runs, dict(zip(runs, verdicts, strict=True)))


def test_the_loss_is_the_mean_over_answers_whatever_the_passes_and_ranks(
    alone: Verdict, folder: Path, spread: Spread
) -> None:
    expected = final_curve(f"file://{folder}/alone")
    for name in ("passes", "shards"):
        run, verdict = spread.runs[name], spread.verdicts[name]
        for step, (loss, ids) in final_curve(run.storage.uri).items():
            assert ids == expected[step][1]
            assert loss == pytest.approx(expected[step][0], abs=2e-6)
        assert verdict.evaluation["held_out_loss"] == pytest.approx(
            alone.evaluation["held_out_loss"], abs=2e-6
        )
    answers = [
        {name: each.evaluation[name] for name in ("token_f1", "bleu")}
        for each in (alone, spread.verdicts["shards"])
    ]
    assert answers[0] == pytest.approx(answers[1])


def test_batches_of_similar_length_are_the_same_on_any_ranks_and_after_a_restart(
    folder: Path, chats: str, spread: Spread
) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    run = bucketed(fine_tuning(folder, chats, "buckets-alone", architecture=FAR))
    assert train_alone(run, monitor=MonitorAt(3, stop)).outcome == "Stopped"
    alone = train_alone(run)
    assert alone.outcome == "Succeeded", alone.message
    expected = final_curve(run.storage.uri)
    assert len(expected) == 6
    spread_out = final_curve(spread.runs["buckets"].storage.uri)
    assert spread_out.keys() == expected.keys()
    for step, (loss, ids) in spread_out.items():
        assert ids == expected[step][1]
        assert loss == pytest.approx(expected[step][0], abs=2e-6)
    held_out = [verdict.evaluation["held_out_loss"] for verdict in (alone, spread.verdicts["buckets"])]
    assert held_out[0] == pytest.approx(held_out[1], abs=2e-6)
    records = [entry.record for entry in log_entries(run.storage.uri)]
    tokens = [record.tokens for record in records if isinstance(record, CheckpointRecord)][-1]
    assert 6 * 8 * 4 < tokens < 6 * 8 * 64, "conversations are counted, not what pads them"


@pytest.mark.parametrize("kind", ["mla", "gqa"])
def test_padding_behind_a_conversation_changes_neither_loss_nor_gradient_nor_load(kind: Any) -> None:
    attention = Attention(kind=kind, num_key_value_heads=1 if kind == "gqa" else None)
    moe = WIDE.moe.model_copy(update={"sequence_balance_loss_weight": 0}) if WIDE.moe else None
    model = DeepseekV3ForCausalLM(FAR.model_copy(update={"attention": attention, "moe": moe})).double()
    model.init_weights(0)
    draw = np.random.default_rng(0)
    starts = np.cumsum([0, 3, 41, 65, 66])
    contents = [
        with_mask(draw.integers(1, 320, size).astype(np.uint32), draw.random(size) < 0.5)
        for size in np.diff(starts)
    ]
    windows = separate(starts, sequence_length=255)
    of_windows = [(windows, number) for number in range(len(contents))]
    rows = build_rows(contents, of_windows, sequence_length=128, separate=True)

    def gradients() -> list[Tensor]:
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        return found

    with model.documents.within(rows.documents_of_inputs):
        together = model(rows.input_ids[:, :-1], rows.labels)
    together.loss.backward()
    padded = gradients()
    loss, counts = torch.zeros((), dtype=torch.float64), torch.zeros_like(together.expert_counts)
    for row, content in enumerate(contents):
        length = len(content) - 1
        labels = rows.labels[row : row + 1, :length]
        alone = model(rows.input_ids[row : row + 1, :length], labels)
        of_row = alone.loss * ((labels != IGNORED).sum() / rows.predicted)
        of_row.backward()
        loss += of_row.detach()
        counts += alone.expert_counts
    torch.testing.assert_close(together.loss.detach(), loss)
    torch.testing.assert_close(together.expert_counts, counts)
    for one, other in zip(padded, gradients(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_export_brings_the_chat_template(alone: Verdict, folder: Path) -> None:
    export = open_export(open_store(Storage(uri=f"file://{folder}/alone")), alone.digest)
    assert "assistant:" in json.loads(export.read("tokenizer_config.json"))["chat_template"]


def test_text_is_no_conversation(folder: Path) -> None:
    run = fine_tuning(folder, write_dataset(folder), "text")
    with pytest.raises(DatasetError, match="sources of format chat"):
        train_alone(run)


def with_long_ones(run: TrainingRun, policy: str | None) -> TrainingRun:
    changes = {"sequence_length": 15, "long_conversations": policy}
    return run.model_copy(update={"data": run.data.model_copy(update=changes)})


def test_what_is_cut_off_conversations_is_a_warning_of_the_job(chats: str, folder: Path) -> None:
    monitor = MonitorAt(1, lambda _: None)
    run = with_long_ones(fine_tuning(folder, chats, "cut", steps=3), None)
    assert train_alone(run, monitor=monitor).outcome == "Succeeded"
    (said,) = [
        words for words in monitor.published[-1].warnings if "conversations are longer than 16" in words
    ]
    assert "tokens (" in said
    (line,) = [line for line in metric_lines(run.storage.uri) if "longConversations" in line]
    assert line["longConversations"]["lost_tokens"] > 0


def test_a_job_can_ask_that_no_conversation_be_cut(chats: str, folder: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"set sequenceLength to \d+, longConversations to truncate or drop"
    ):
        train_alone(with_long_ones(fine_tuning(folder, chats, "refused", steps=3), "refuse"))
