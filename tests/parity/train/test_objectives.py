"""What a run can learn besides the next token: each setting in a small run that shows its effect."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_cases import (
    ARCHITECTURE,
    MonitorAt,
    final_curve,
    metric_lines,
    run_config,
    train_alone,
    write_dataset,
)

from deepseek_workloads.contract.messages import Control, Verdict
from deepseek_workloads.contract.monitoring import AlertRule, Alerts
from deepseek_workloads.contract.objective import Quantisation
from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.data.document_facts import FACTS_DTYPE
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.export.load import open_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.model.integers import Int8, widened
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train import distil, loss_scale
from deepseek_workloads.train import setup as run_setup
from deepseek_workloads.train.anchor import Anchor, make_anchor
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.quantise import GROUP, quantise_weights, quantised


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objectives")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    return write_dataset(folder)


@pytest.fixture(scope="module")
def plain(folder: Path, dataset: str) -> Verdict:
    return train_alone(run_config(f"file://{folder}/plain", dataset))


def trained(folder: Path, dataset: str, name: str, **training: Any) -> Verdict:
    verdict = train_alone(run_config(f"file://{folder}/{name}", dataset, **training))
    assert verdict.outcome == "Succeeded", verdict.message
    return verdict


def state(verdict: Verdict) -> dict[str, Tensor]:
    return open_export(open_store(Storage(uri=verdict.uri), environ={})).state(ARCHITECTURE)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_rounded_model_is_exported_as_it_was_trained(
    folder: Path, dataset: str, plain: Verdict, bits: int
) -> None:
    verdict = trained(folder, dataset, f"int{bits}", quantisation={"bits": bits})
    weights = state(verdict)
    for name in ("model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.experts.down_proj"):
        rows = weights[name].flatten(0, -2)
        columns = rows.shape[-1] if bits == 8 or rows.shape[-1] % GROUP else GROUP
        groups = rows.unflatten(-1, (-1, columns)).flatten(0, 1)
        assert max(len(group.unique()) for group in groups) <= 2**bits - 1
    model = DeepseekV3ForCausalLM(ARCHITECTURE).eval()
    model.load_state_dict(weights)
    assert verdict.evaluation["held_out_loss"] == pytest.approx(
        plain.evaluation["held_out_loss"], abs=0.1 if bits == 4 else 0.01
    )


def test_a_trained_model_is_rounded_at_the_end_and_measured_before_and_after(
    folder: Path, dataset: str, plain: Verdict
) -> None:
    verdict = trained(folder, dataset, "afterwards", quantisation={"bits": 4, "mode": "postTraining"})
    curves = (final_curve(f"file://{folder}/{name}") for name in ("plain", "afterwards"))
    assert next(curves) == next(curves), "training is as always"
    before, after = state(plain), state(verdict)
    name = "model.layers.0.self_attn.o_proj.weight"
    torch.testing.assert_close(after[name], quantised(before[name], 4))
    assert verdict.evaluation["exact_held_out_loss"] == plain.evaluation["held_out_loss"]
    assert verdict.evaluation["held_out_loss"] != plain.evaluation["held_out_loss"]
    model = DeepseekV3ForCausalLM(ARCHITECTURE).eval()
    model.load_state_dict(after)


def test_afterwards_8_bits_are_exported_as_int8_and_trained_on_as_what_they_stand_for(
    folder: Path, dataset: str, plain: Verdict
) -> None:
    verdict = trained(folder, dataset, "integers", quantisation={"bits": 8, "mode": "postTraining"})
    reader = open_export(open_store(Storage(uri=verdict.uri), environ={}))
    name = "model.layers.0.self_attn.o_proj.weight"
    stored = dict(reader.stored())[name]
    assert isinstance(stored, Int8)
    assert torch.equal(widened(stored), quantised(state(plain)[name], 8))
    assert verdict.evaluation["exact_held_out_loss"] == plain.evaluation["held_out_loss"]
    assert verdict.evaluation["held_out_loss"] != plain.evaluation["held_out_loss"]

    start: dict[str, Any] = {"steps": 1, "schedule": {}, "init_from": {"uri": verdict.uri}}
    trained(folder, dataset, "on int8", **start)
    trained(folder, dataset, "as widened", **start, quantisation={"bits": 8})
    assert final_curve(f"file://{folder}/on int8")[1][0] == pytest.approx(
        final_curve(f"file://{folder}/as widened")[1][0], abs=1e-6
    )


def test_what_the_export_rounds_the_training_had_rounded(folder: Path, dataset: str) -> None:
    """The same text, the same loss: rounding twice changes nothing."""
    verdict = trained(folder, dataset, "rounded", quantisation={"bits": 4})
    start: dict[str, Any] = {"steps": 1, "schedule": {}, "init_from": {"uri": verdict.uri}}
    trained(folder, dataset, "again", **start, quantisation={"bits": 4})
    trained(folder, dataset, "unrounded", **start)
    first, _ = final_curve(f"file://{folder}/again")[1]
    other, _ = final_curve(f"file://{folder}/unrounded")[1]
    assert first == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 8), (2, 4, 64)])
@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_is_to_the_nearest_and_happens_once(shape: tuple[int, ...], bits: Any) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rounded = quantised(weight, bits)
    step = weight.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((rounded - weight).abs() <= step / 2 + 1e-6).all()
    torch.testing.assert_close(quantised(rounded, bits), rounded)


def test_the_distillation_loss_is_its_formula_and_so_is_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        distil, "LOSS_CHUNK_ELEMENTS", {False: 3 * 7 * 8, True: 3 * 7 * 8}
    )  # three rows at a time
    draw = torch.Generator().manual_seed(0)
    hidden, wanted = (torch.randn(8, 5, dtype=torch.float64, generator=draw) for _ in range(2))
    weight, known = (torch.randn(7, 5, dtype=torch.float64, generator=draw) for _ in range(2))
    labels = torch.tensor([0, 6, IGNORED, 3, 2, IGNORED, 1, 5])
    alpha, heat = 0.7, 2.0

    def expected(h: Tensor, w: Tensor) -> Tensor:
        counted = labels != IGNORED
        logits, target = (h @ w.T)[counted], (wanted @ known.T)[counted]
        p, q = (target / heat).softmax(-1), (logits / heat).softmax(-1)
        divergence = (p * (p.log() - q.log())).sum(-1).mean()
        entropy = torch.nn.functional.cross_entropy(logits, labels[counted])
        return alpha * heat**2 * divergence + (1 - alpha) * entropy

    def found(h: Tensor, w: Tensor) -> Tensor:
        parts = distil.distilled((h, w), distil.OfTeacher(wanted, known), labels, temperature=heat)
        return alpha * heat**2 * parts.divergence + (1 - alpha) * parts.entropy

    results = []
    for function in (expected, found):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = function(h, w)
        loss.backward()
        results.append((loss.detach(), h.grad, w.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_a_student_comes_nearer_to_its_teacher_than_one_that_reads_alone(folder: Path, dataset: str) -> None:
    teacher = trained(folder, dataset, "teacher", steps=24)
    alone = trained(folder, dataset, "alone")
    student = trained(
        folder, dataset, "student", distillation={"teacher": {"uri": teacher.uri}, "alpha": 1.0}
    )
    ids = torch.randint(1, 64, (8, 16), generator=torch.Generator().manual_seed(2))
    logits = {}
    for name, verdict in (("teacher", teacher), ("alone", alone), ("student", student)):
        model = DeepseekV3ForCausalLM(ARCHITECTURE).eval()
        model.load_state_dict(state(verdict))
        with torch.no_grad():
            logits[name] = model(ids).log_softmax(-1)

    def distance(name: str) -> float:
        return float((logits["teacher"].exp() * (logits["teacher"] - logits[name])).sum(-1).mean())

    assert distance("student") < distance("alone")
    of_text = [final_curve(f"file://{folder}/{name}")[1][0] for name in ("alone", "student")]
    assert of_text[0] == pytest.approx(of_text[1], abs=1e-5), "the loss is the text's, whoever teaches"


def test_a_student_learns_with_the_weights_that_its_head_computes_with() -> None:
    student, teacher, rounded = (DeepseekV3ForCausalLM(ARCHITECTURE).eval() for _ in range(3))
    for model, seed in ((student, 0), (teacher, 1), (rounded, 0)):
        model.init_weights(seed)
    with torch.no_grad():
        rounded.lm_head.weight.copy_(quantised(rounded.lm_head.weight, 4))
    quantise_weights(student, Quantisation(bits=4, modules=["lm_head"]))
    distillation = distil.Distillation(student.lm_head, teacher, alpha=0.5, temperature=2.0)
    ids = torch.randint(1, 64, (2, 17), generator=torch.Generator().manual_seed(0))
    with distillation.over(ids[:, :-1], None):
        found = distillation.told(student.loss(ids))
    torch.testing.assert_close(found.lm_loss, rounded.loss(ids).lm_loss)
    assert found.auxiliary["distillationLoss"] > 0


def test_short_sequences_come_first_and_no_token_is_left_out(
    folder: Path, dataset: str, plain: Verdict
) -> None:
    stages = [{"until_step": 2, "sequence_length": 4}, {"until_step": 4, "sequence_length": 8}]
    verdict = trained(folder, dataset, "curriculum", curriculum=stages)
    expected, curve = (final_curve(f"file://{folder}/{name}") for name in ("plain", "curriculum"))
    assert [ids for _, ids in curve.values()] == [ids for _, ids in expected.values()]
    assert curve[1][0] != pytest.approx(expected[1][0], abs=1e-6)
    assert verdict.step == 6


def graded_dataset(folder: Path) -> str:
    """The rule's text with difficulty 0.1, and half as much noise with 0.9: the windows from 256 on."""
    uri = write_dataset(folder)
    store = open_store(Storage(uri=uri), environ={})
    manifest = load_manifest(store, None)
    easy, hard = manifest.train
    noise = np.random.default_rng(4).integers(1, 64, hard.tokens).astype(np.uint16).tobytes()
    store.put(hard.key, noise)
    checksums = [chunk_checksum(noise[at : at + 512]) for at in range(0, len(noise), 512)]
    shards = []
    for shard, difficulty in ((easy, 0.1), (hard.model_copy(update={"chunk_checksums": checksums}), 0.9)):
        facts, start = np.array([(difficulty, 0)], dtype=FACTS_DTYPE).tobytes(), bytes(8)
        store.put(f"{shard.key}.facts", facts)
        store.put(shard.document_offsets_key, start)
        file = FileEntry(key=f"{shard.key}.facts", size=len(facts), checksum=object_checksum(facts))
        update = {"facts": file, "document_offsets_checksum": object_checksum(start)}
        shards.append(shard.model_copy(update=update))
    store.put("manifest.json", manifest.model_copy(update={"train": shards}).to_json())
    return uri


def test_easy_text_comes_first_and_is_learnt_first(folder: Path) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    graded = graded_dataset(folder / "graded")
    staged: dict[str, Any] = {"steps": 9, "curriculum": [{"until_step": 6, "max_difficulty": 0.5}]}
    evenly = trained(folder, graded, "evenly", steps=9)
    rising = trained(folder, graded, "rising", **staged)
    run = run_config(f"file://{folder}/rising-twice", graded, **staged)
    assert train_alone(run, monitor=MonitorAt(4, stop)).outcome == "Stopped"
    assert train_alone(run).outcome == "Succeeded"

    curve = final_curve(f"file://{folder}/rising")
    hard = [sum(number >= 256 for number in ids) for _, ids in curve.values()]
    assert hard[:6] == [0] * 6
    assert sum(hard[6:]) > 0
    assert final_curve(run.storage.uri) == curve
    losses = [verdict.evaluation["held_out_loss"] for verdict in (rising, evenly)]
    assert losses[0] < losses[1], "the rule, which is held out, is learnt sooner without noise"


def closed(weights: dict[str, Tensor], layer: int) -> Tensor:
    """bool [..., I]: channels of a layer's (routed) networks with nothing in them."""
    if layer == 0:
        gate, up, down = (
            weights[f"model.layers.0.mlp.{name}_proj.weight"] for name in ("gate", "up", "down")
        )
    else:
        gate, up = weights["model.layers.1.mlp.experts.gate_up_proj"].chunk(2, dim=1)
        down = weights["model.layers.1.mlp.experts.down_proj"]
    rows = gate.abs().sum(-1) + up.abs().sum(-1)
    empty: Tensor = (rows + down.abs().sum(-2)) == 0
    return empty


def test_pruned_channels_stay_closed_also_over_a_restart(folder: Path, dataset: str) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    pruning = {"sparsity": 0.25, "at_step": 2}
    whole = trained(folder, dataset, "pruned", pruning=pruning)
    run = run_config(f"file://{folder}/pruned-twice", dataset, pruning=pruning)
    assert train_alone(run, monitor=MonitorAt(3, stop)).outcome == "Stopped"
    resumed = train_alone(run)
    for verdict in (whole, resumed):
        weights = state(verdict)
        assert closed(weights, 0).sum() == 48 // 4
        assert closed(weights, 1).sum(-1).tolist() == [16 // 4] * 4
    assert all(torch.equal(one, other) for one, other in zip(*map(tensors, (whole, resumed)), strict=True))


def test_channels_are_closed_also_where_the_update_of_that_step_is_not_taken(
    folder: Path, dataset: str
) -> None:
    every_step = Alerts(gradient_norm=AlertRule(threshold=0, action="skip"))
    run = run_config(f"file://{folder}/skipped", dataset, steps=2, pruning={"sparsity": 0.25, "at_step": 2})
    verdict = train_alone(run.model_copy(update={"alerts": every_step}))
    assert verdict.outcome == "Succeeded", verdict.message
    assert closed(state(verdict), 0).sum() == 48 // 4


def tensors(verdict: Verdict) -> list[Tensor]:
    return [value for _, value in sorted(state(verdict).items())]


def test_weights_that_the_older_data_needs_stay_nearer_to_where_they_were(
    folder: Path, dataset: str, plain: Verdict
) -> None:
    start: dict[str, Any] = {
        "init_from": {"uri": plain.uri},
        "optimizer": {"learning_rate": 2e-3},
        "steps": 24,
    }
    free = trained(folder, dataset, "free", **start)
    hold = {"source": "rule", "strength": 1e5, "samples": 8}
    held = trained(folder, dataset, "held", **start, consolidation=hold)
    before = state(plain)
    needed = importance(before)

    def moved(verdict: Verdict) -> float:
        after = state(verdict)
        return sum((need * (after[name] - before[name]) ** 2).sum().item() for name, need in needed.items())

    assert moved(held) < moved(free) / 2
    told = [
        line.get("consolidationLoss") for line in metric_lines(f"file://{folder}/held") if "sampleIds" in line
    ]
    assert told[0] == 0 < told[1]
    assert "consolidationLoss" not in metric_lines(f"file://{folder}/free")[0]


def importance(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean squared gradient of single sequences of the dataset's rule."""
    model = DeepseekV3ForCausalLM(ARCHITECTURE)
    model.load_state_dict(weights)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for start in range(8):
        ids = [1 + start * 7]
        for _ in range(16):
            ids.append(1 + (ids[-1] * 5 + 7) % 63)
        model.zero_grad()
        model.loss(torch.tensor([ids])).loss.backward()
        for name, p in model.named_parameters():
            total[name] += p.grad.square() / 8 if p.grad is not None else 0
    return total


class Measured(Exception):
    """Ends a run as soon as it knows what the older data needs."""

    def __init__(self, importance: dict[str, Tensor]) -> None:
        self.importance = importance


def measured(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    def measure(model: ParallelModel, *arguments: Any, **settings: Any) -> Anchor:
        anchor = make_anchor(model, *arguments, **settings)
        names = [name for name, parameter in model.plain.named_parameters() if parameter.requires_grad]
        raise Measured(dict(zip(names, anchor._importance, strict=True)))

    monkeypatch.setattr(run_setup, "make_anchor", measure)
    with pytest.raises(Measured) as ended:
        train_alone(run)
    return ended.value.importance


@pytest.mark.parametrize("first_scale", [2.0**16, 2.0**26], ids=["as it is", "with overflows at first"])
def test_the_older_data_needs_the_same_weights_in_float16(
    folder: Path, dataset: str, monkeypatch: pytest.MonkeyPatch, first_scale: float
) -> None:
    """A mean over 2048 tokens has gradients below float16's smallest number."""
    architecture = ARCHITECTURE.model_copy(update={"max_position_embeddings": 2048})
    start = train_alone(
        run_config(f"file://{folder}/long-{first_scale:g}", dataset, architecture=architecture)
    )
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", first_scale)
    found = {}
    for precision in ("fp32", "fp16"):
        run = run_config(
            f"file://{folder}/measured-{precision}-{first_scale:g}",
            dataset,
            architecture=architecture,
            init_from={"uri": start.uri},
            precision=precision,
            consolidation={"source": "rule", "samples": 1},
        )
        data = run.data.model_copy(update={"sequence_length": 2048})
        found[precision] = measured(run.model_copy(update={"data": data}), monkeypatch)
    for layer in (0, 1):
        name = f"model.layers.{layer}.self_attn.q_b_proj.weight"
        exact, half = (found[precision][name].sqrt() for precision in ("fp32", "fp16"))
        assert exact.norm() > 0
        assert (half - exact).norm() < 0.2 * exact.norm()


def test_the_penalty_is_its_formula() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    anchor = Anchor([weight], strength=3.0)
    for gradient in ([2.0, 0.0], [4.0, 0.0]):
        weight.grad = torch.tensor(gradient)
        anchor.add(share=0.5)
    with torch.no_grad():
        weight += 1
    weight.grad = torch.tensor([0.5, 0.5])
    penalty = anchor.pull()
    assert penalty.item() == 3 / 2 * (4 + 16) / 2 * 1
    assert weight.grad.tolist() == [0.5 + 3 * (4 + 16) / 2 * 1, 0.5]
