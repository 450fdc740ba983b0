"""Running text whose documents are apart: a document in a window is learnt from as if it were alone."""

from pathlib import Path

import pytest
import torch
from training_cases import (
    ARCHITECTURE,
    cut_into_documents,
    final_curve,
    run_config,
    train_alone,
    train_group,
    write_dataset,
)

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.rows import Rows
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.document_attention import WORTH_A_CALL
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.store.open import open_store

EVERY = 7  # tokens of a document
TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}  # of float64, with angles of positions in float32
LOOKING = ARCHITECTURE.model_copy(update={"num_nextn_predict_layers": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rule's text, cut into documents of a few tokens."""
    uri = write_dataset(tmp_path_factory.mktemp("data"))
    cut_into_documents(uri, every=EVERY)
    return uri


def masked(folder: Path, dataset: str, name: str, **changes: object) -> TrainingRun:
    run = run_config(f"file://{folder}/{name}", dataset, architecture=LOOKING, steps=4, **changes)
    return run.model_copy(update={"data": run.data.model_copy(update={"document_mask": True})})


@pytest.fixture(scope="module")
def alone(folder: Path, dataset: str) -> Verdict:
    return train_alone(masked(folder, dataset, "alone"))


@pytest.fixture(scope="module")
def rows(folder: Path, dataset: str) -> Rows:
    run = masked(folder, dataset, "unused")
    store = open_store(run.data.sources[0].storage)
    plan = sample_plan(run, [load_manifest(store, None)], [store])
    with BatchStream(plan, [store], rank=0, world_size=1, global_batch_size=8, micro_batch_size=8) as stream:
        return next(stream).rows


def model_of() -> DeepseekV3ForCausalLM:
    """Without the experts' balance within a sequence, which is of whole windows."""
    assert LOOKING.moe is not None
    moe = LOOKING.moe.model_copy(update={"sequence_balance_loss_weight": 0.0})
    model = DeepseekV3ForCausalLM(LOOKING.model_copy(update={"moe": moe})).double()
    model.init_weights(3)
    return model.train()


def documents_of(rows: Rows) -> list[torch.Tensor]:
    """int64 [tokens] of each, as far as the inputs of its row go."""
    of_inputs = rows.documents_of_inputs
    assert of_inputs is not None
    return [
        ids[owners == number]
        for ids, owners in zip(rows.input_ids[:, :-1], of_inputs, strict=True)
        for number in owners.unique()
    ]


def gradients(model: DeepseekV3ForCausalLM) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_document_in_a_window_has_the_logits_that_it_has_alone(rows: Rows) -> None:
    model, ids = model_of(), rows.input_ids[:, :-1]
    with torch.no_grad(), model.documents.within(rows.documents_of_inputs):
        together = model(ids).flatten(0, 1)
    with torch.no_grad():
        apart = [model(document.unsqueeze(0))[0] for document in documents_of(rows)]
    assert len(apart) > 2 * len(ids)
    torch.testing.assert_close(together, torch.cat(apart), **TOLERANCE)


def test_long_documents_are_attended_to_one_by_one_and_alike() -> None:
    model, sizes = model_of(), [WORTH_A_CALL + 20, WORTH_A_CALL]
    ids = torch.randint(64, (1, sum(sizes)), generator=torch.Generator().manual_seed(1))
    documents = torch.arange(2).repeat_interleave(torch.tensor(sizes)).unsqueeze(0)
    with torch.no_grad(), model.documents.within(documents):
        together = model(ids)[0]
    with torch.no_grad():
        apart = [model(document.unsqueeze(0))[0] for document in ids[0].split(sizes)]
    torch.testing.assert_close(together, torch.cat(apart), **TOLERANCE)


def test_a_window_has_the_gradients_of_its_documents_alone(rows: Rows) -> None:
    """Those of the loss and of the modules that look further, both over all tokens that are predicted.

    The last document of a row goes on: what its last input predicts is left out on both sides."""
    model, ids = model_of(), rows.input_ids[:, :-1]
    labels = rows.labels.clone()
    labels[:, -1] = IGNORED
    with model.documents.within(rows.documents_of_inputs):
        model(ids, labels).loss.backward()
    together = gradients(model)

    documents = [document.unsqueeze(0) for document in documents_of(rows)]
    predicted = sum(document.shape[1] - 1 for document in documents)
    model.zero_grad()
    for document in documents:
        if document.shape[1] < 2:  # which predicts nothing
            continue
        following = torch.cat([document[:, 1:], torch.full_like(document[:, :1], IGNORED)], dim=1)
        hidden = model.model(document).last
        loss = model.lm_head(hidden, following) * (document.shape[1] - 1) / predicted
        looked = model.model.look_further(document, hidden)
        loss = loss + model.mtp_loss(looked, following) * (document.shape[1] - 2) / predicted
        loss.backward()
    torch.testing.assert_close(gradients(model), together, **TOLERANCE)


def test_a_layout_sees_the_documents_as_one_process_does(folder: Path, dataset: str, alone: Verdict) -> None:
    parallelism = {"zero_stage": 3, "expert_parallel_degree": 2}
    run = masked(folder, dataset, "ranks", world_size=2, micro_batch_size=4, parallelism=parallelism)
    (spread,) = train_group([run], folder / "group")
    expected = final_curve(f"file://{folder}/alone")
    for step, (loss, ids) in final_curve(run.storage.uri).items():
        assert ids == expected[step][1]
        assert loss == pytest.approx(expected[step][0], abs=2e-6)
    assert spread.evaluation["held_out_loss"] == pytest.approx(alone.evaluation["held_out_loss"], abs=2e-6)


def test_a_curriculum_cuts_rows_and_their_documents(folder: Path, dataset: str, alone: Verdict) -> None:
    """Its pieces are shorter, so a step is another one; the text is the same."""
    assert alone.outcome == "Succeeded"
    stages = [{"until_step": 2, "sequence_length": 8}]
    assert train_alone(masked(folder, dataset, "cut", curriculum=stages)).outcome == "Succeeded"
    whole, cut = (final_curve(f"file://{folder}/{name}") for name in ("alone", "cut"))
    assert [ids for _, ids in cut.values()] == [ids for _, ids in whole.values()]
    assert cut[1][0] != pytest.approx(whole[1][0], abs=1e-6)
