"""What a replica makes of its export, and of an older one that its model is to be compared with."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.contract.run_config import (
    CheckBaseline,
    Engine,
    Owner,
    ServedRevision,
    ServingCheck,
    ServingRun,
    Storage,
    Workers,
)
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.generate import Sampling, generate
from deepseek_workloads.export.load import ExportError, load_export
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.launch.replica import failure_of
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.bring_up import check_model, load_model
from deepseek_workloads.serve.engine.runner import Runner
from deepseek_workloads.serve.served_model import ServedModel
from deepseek_workloads.store.interface import AccessDenied, ObjectStore, StoreError, StoreUnavailable
from deepseek_workloads.store.open import open_store


def run_with_baseline(uri: str) -> ServingRun:
    storage = Storage(uri=uri)
    return ServingRun(
        owner=Owner(namespace="test", name="chat", uid="uid"),
        served_model_name="chat",
        revision=ServedRevision(name="chat-2", uid="uid-2", storage=storage, digest="sha256:2"),
        check=ServingCheck(baseline=CheckBaseline(storage=storage, digest="sha256:1", bits_per_byte=2.0)),
        workers=Workers(num_nodes=1),
    )


@pytest.mark.parametrize("error", [AccessDenied("revoked"), StoreUnavailable("away")])
def test_a_baseline_that_cannot_be_read_is_a_warning(chat: ServedModel, error: StoreError) -> None:
    def refuse(_: Storage) -> ObjectStore:
        raise error

    report = check_model(chat, run_with_baseline("s3://models/old"), open_store=refuse)

    assert report.bits_per_byte_on_baseline is None
    assert f"not compared: the active revision's export cannot be read: {error}" in report.warnings


def test_so_is_one_that_was_altered_or_deleted(chat: ServedModel, tmp_path: Path) -> None:
    run = run_with_baseline(tmp_path.as_uri())

    gone = check_model(chat, run, open_store=open_store)
    (tmp_path / "manifest.json").write_text(json.dumps({"formatVersion": 1}))
    altered = check_model(chat, run, open_store=open_store)

    assert "not compared: the active revision's export is gone" in gone.warnings
    assert "cannot be read" in altered.warnings[-1]


def test_an_int8_export_stays_int8_and_answers_as_what_it_stands_for(
    model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, provenance: Provenance, tmp_path: Path
) -> None:
    """Prompts in pieces, then tokens of several rows, as the engine runs them."""
    int8 = {name for name, tensor in model.state_dict().items() if ".experts." in name or "_proj" in name}
    export = export_model(
        open_store(Storage(uri=tmp_path.as_uri()), environ={}),
        state=model.state_dict(),
        architecture=model.architecture,
        tokenizer=ExportTokenizer(tokenizer.to_str().encode(), eos_token_id=1),
        provenance=provenance,
        evaluation={},
        int8=int8,
    )
    folder = Storage(uri=export.uri)
    revision = ServedRevision(name="chat-1", uid="uid-1", storage=folder, digest=export.digest)
    run = run_with_baseline(export.uri).model_copy(update={"revision": revision, "check": ServingCheck()})

    served = load_model(run, open_store=open_store, device="cpu").export.model
    widened = load_export(open_store(folder)).model

    assert any(buffer.dtype == torch.int8 for buffer in served.buffers())
    sampling = Sampling(max_tokens=16, temperature=0)
    for prompt in ("The kernel", "A node runs pods.", "内核"):
        ids = tokenizer.encode(prompt).ids
        answers = (list(generate(each, ids, sampling=sampling, stop=(1,))) for each in (served, widened))
        assert next(answers) == next(answers)
    runners = [Runner(each) for each in (served, widened)]
    for runner in runners:
        for ids in ((5, 9, 30), (7, 2)):
            prefill = runner.prefill(ids)
            assert prefill.advance() is not None
            runner.join(prefill)
    torch.testing.assert_close(*(runner.decode([40, 41]) for runner in runners), atol=1e-4, rtol=1e-4)


def test_in_bf16_the_biases_that_choose_experts_stay_float32(
    model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, provenance: Provenance, tmp_path: Path
) -> None:
    """Experts whose biases are equal in bf16 are still told apart."""
    router_bias = torch.tensor([1.0, 1.001, 1.002, 1.003])
    assert len(set(router_bias.bfloat16().tolist())) == 1
    state = model.state_dict()
    state |= {name: router_bias for name in state if name.endswith("e_score_correction_bias")}
    export = export_model(
        open_store(Storage(uri=tmp_path.as_uri()), environ={}),
        state=state,
        architecture=model.architecture,
        tokenizer=ExportTokenizer(tokenizer.to_str().encode(), eos_token_id=1),
        provenance=provenance,
        evaluation={},
        dtype=torch.bfloat16,
    )
    revision = ServedRevision(
        name="chat-1", uid="uid-1", storage=Storage(uri=export.uri), digest=export.digest
    )
    run = run_with_baseline(export.uri).model_copy(
        update={"revision": revision, "check": ServingCheck(), "engine": Engine(precision="bf16")}
    )

    served = load_model(run, open_store=open_store, device="cpu").export.model

    assert {weight.dtype for weight in served.parameters()} == {torch.bfloat16}
    biases = [mixture.gate.e_score_correction_bias for mixture in served.mixtures()]
    assert biases
    assert all(torch.equal(bias, router_bias) for bias in biases)
    assert served(torch.tensor([[5, 9, 30]])).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "manifest.json"])
def test_one_altered_byte_of_the_export_is_found_before_anything_is_served(
    model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, provenance: Provenance, tmp_path: Path, name: str
) -> None:
    """Names and sizes, which preflight compares, are as recorded."""
    export = export_model(
        open_store(Storage(uri=tmp_path.as_uri()), environ={}),
        state=model.state_dict(),
        architecture=model.architecture,
        tokenizer=ExportTokenizer(tokenizer.to_str().encode(), eos_token_id=1),
        provenance=provenance,
        evaluation={},
    )
    folder = Storage(uri=export.uri)
    revision = ServedRevision(name="chat-1", uid="uid-1", storage=folder, digest=export.digest)
    run = run_with_baseline(export.uri).model_copy(update={"revision": revision, "check": ServingCheck()})
    assert load_model(run, open_store=open_store, device="cpu").export.digest == export.digest
    content = bytearray((tmp_path / export.prefix / name).read_bytes())
    content[-2] ^= 1
    (tmp_path / export.prefix / name).write_bytes(content)

    with pytest.raises(ExportError, match=name) as caught:
        load_model(run, open_store=open_store, device="cpu")
    failure = failure_of(caught.value, index=0)
    assert (failure.kind, failure.reason) == ("final", reasons.EXPORT_INVALID)
