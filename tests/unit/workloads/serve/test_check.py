"""A revision that is damaged, or worse than the active one, is not served."""

import math
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer

from deepseek_workloads.contract.records import ExportManifest, Provenance
from deepseek_workloads.contract.run_config import CheckBaseline, ServingCheck, Storage
from deepseek_workloads.export.load import LoadedExport
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.check import CheckFailed, bits_per_byte, check
from deepseek_workloads.serve.served_model import ServedModel, served_model

TEXTS = ["The kernel schedules tasks; 内核调度任务。", "A node runs pods.\n"]


@pytest.fixture
def served(model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, provenance: Provenance) -> ServedModel:
    manifest = ExportManifest(files=[], provenance=provenance, parameters=1)
    export = LoadedExport(model, tokenizer, manifest, "sha256:0", 1, tokenizer_config={}, held_out=TEXTS)
    return served_model(export, name="chat", max_model_len=16)


def with_model(served: ServedModel, model: DeepseekV3ForCausalLM) -> ServedModel:
    return replace(served, export=replace(served.export, model=model))


def baseline(bits: float) -> ServingCheck:
    of_another = CheckBaseline(storage=Storage(uri="file:///x"), digest="sha256:1", bits_per_byte=bits)
    return ServingCheck(baseline=of_another, max_bits_per_byte_increase=0.5)


def test_bits_per_byte_are_those_of_every_token_after_the_end_of_a_document(served: ServedModel) -> None:
    """In windows of the model's length, each token seen with what stands before it in its window."""
    nats = 0.0
    for text in TEXTS:
        ids = [1, *served.export.tokenizer.encode(text).ids]
        for start in range(0, len(ids) - 1, 16):
            window = torch.tensor([ids[start : start + 17]])
            with torch.inference_mode():
                logits = served.export.model(window[:, :-1])
            nats += float(torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum"))
    size = sum(len(text.encode()) for text in TEXTS)

    assert bits_per_byte(served, TEXTS) == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_a_sound_model_passes_and_is_measured(served: ServedModel) -> None:
    report = check(served, ServingCheck(prompts=["The kernel"]))

    assert report.bits_per_byte == bits_per_byte(served, TEXTS)
    assert (report.bits_per_byte_on_baseline, report.warnings) == (None, [])


def test_an_export_without_held_out_text_passes_with_a_warning(served: ServedModel) -> None:
    older = replace(served, export=replace(served.export, held_out=()))

    report = check(older, ServingCheck())

    assert report.bits_per_byte is None
    assert "no held-out text" in report.warnings[0]


def test_a_model_that_is_worse_than_the_active_one_is_refused(served: ServedModel) -> None:
    found = bits_per_byte(served, TEXTS)
    assert found is not None

    with pytest.raises(CheckFailed, match=r"must be at most .* tolerance of 0\.5"):
        check(served, baseline(found - 0.6), baseline_texts=TEXTS)
    assert check(served, baseline(found - 0.4), baseline_texts=TEXTS).bits_per_byte_on_baseline == found


def test_without_the_active_ones_text_there_is_nothing_to_compare(served: ServedModel) -> None:
    assert "not compared" in check(served, baseline(0.1)).warnings[0]


@pytest.mark.parametrize("settings", [ServingCheck(), ServingCheck(prompts=["The"])])
def test_weights_that_are_not_finite_are_refused(served: ServedModel, settings: ServingCheck) -> None:
    damaged = DeepseekV3ForCausalLM(served.export.model.architecture)
    damaged.load_state_dict(served.export.model.state_dict())
    with torch.no_grad():
        damaged.lm_head.weight[5, 0] = float("inf")

    with pytest.raises(CheckFailed, match="not finite"):
        check(with_model(served, damaged.eval()), settings)
