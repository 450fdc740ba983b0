"""An export goes tensor by tensor into a model that is there; what is not as it must be is named."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from loading import Alone, made
from small_architectures import ARCHITECTURES, BASE, NEXTN, OWN, PLAIN, SPARSE

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.load import ExportReader, open_export
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.export.start import open_initial_model
from deepseek_workloads.export.stream_weights import WeightStream, load_weights
from deepseek_workloads.launch.initial_model import initial_model_problems
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ByteRange

NAMES = {
    "low-rank queries": BASE,
    "tied head": ARCHITECTURES["tied head"],
    "modules for more than the next token": NEXTN,
    "softmax gates": PLAIN["softmax gates"],
    "indexer": SPARSE,
    "lsh": OWN["lsh"],
    "load-balance loss": OWN["latent attention, softmax gates"].model_copy(
        update={
            "moe": OWN["latent attention, softmax gates"].moe.model_copy(
                update={"load_balance_loss_weight": 0.1}
            )
        }
    ),
}


class CountingStore(FileObjectStore):
    """Remembers how many bytes each request asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[int] = []

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        self.asked.append(sum(part.end - part.start for part in ranges))
        return super().read_ranges(ranges)


@pytest.fixture
def export(tmp_path: Path, export_tokenizer: ExportTokenizer, provenance: Provenance):
    def publish(
        architecture: Architecture, *, changes: Mapping[str, torch.Tensor] | None = None
    ) -> ExportReader:
        architecture = architecture.model_copy(update={"vocab_size": 320})
        store = CountingStore(tmp_path / "storage")
        published = export_model(
            store,
            state=made(architecture, seed=1).state_dict() | dict(changes or {}),
            architecture=architecture,
            tokenizer=export_tokenizer,
            provenance=provenance,
            evaluation={},
            max_shard_bytes=40_000,
        )
        return open_export(store, published.digest)

    return publish


@pytest.mark.parametrize("architecture", NAMES.values(), ids=NAMES.keys())
def test_every_tensor_arrives(architecture: Architecture, export) -> None:
    reader = export(architecture)
    architecture = architecture.model_copy(update={"vocab_size": 320})
    model = made(architecture, seed=2)
    frequencies = {n: b.clone() for n, b in model.named_buffers() if n.endswith("expert_frequency")}

    load_weights(reader, model, architecture, group=Alone())

    expected = made(architecture, seed=1).state_dict() | frequencies
    torch.testing.assert_close(dict(model.state_dict()), dict(expected), atol=0, rtol=0)


def test_what_is_in_memory_at_a_time_is_a_small_part_of_the_model(export) -> None:
    reader = export(BASE)
    model = made(reader.architecture(), seed=2)
    held = sum(tensor.numel() * tensor.itemsize for tensor in model.state_dict().values())

    stream = WeightStream(reader, model, reader.architecture())
    reader.store.asked.clear()
    assert list(stream.load()) == []

    assert sum(reader.store.asked) == pytest.approx(held, rel=0.05)
    assert max(reader.store.asked) <= 0.2 * held


def test_a_model_with_an_indexer_begins_from_an_export_without(export) -> None:
    reader = export(BASE)
    architecture = SPARSE.model_copy(update={"vocab_size": 320})
    model, before = made(architecture, seed=2), made(architecture, seed=2).state_dict()

    load_weights(reader, model, architecture, group=Alone())

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (".indexer." in name or "norm" in name), name


def test_tensors_that_are_too_many_or_of_another_shape_are_named_and_nothing_is_loaded(export) -> None:
    wrong = {"model.layers.0.mlp.gate_proj.weight": torch.ones(52, 32), "model.extra": torch.ones(3)}
    reader = export(BASE, changes=wrong)
    architecture = reader.architecture()
    model, before = made(architecture, seed=2), made(architecture, seed=2).state_dict()

    with pytest.raises(ExportError) as refusal:
        load_weights(reader, model, architecture, group=Alone())

    assert "model.layers.0.mlp.gate_proj.weight of [52, 32] (the model has [48, 32])" in str(refusal.value)
    assert "model.extra of [3] (the model has no such tensor)" in str(refusal.value)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), atol=0, rtol=0)


def test_a_layer_behind_those_that_the_config_tells_of_is_too_many(export) -> None:
    name = f"model.layers.{BASE.num_hidden_layers}.mlp.experts.0.gate_proj.weight"
    reader = export(BASE, changes={name: torch.ones(24, 32)})
    architecture = reader.architecture()
    with pytest.raises(ExportError, match=re.escape(name)):
        load_weights(reader, made(architecture, seed=2), architecture, group=Alone())


def test_modules_that_look_further_than_the_model_does_are_passed_over(export) -> None:
    reader = export(NEXTN)
    nearer = reader.architecture().model_copy(update={"num_nextn_predict_layers": 0})
    model = made(nearer, seed=2)
    assert load_weights(reader, model, nearer, group=Alone()) >= dict(model.named_parameters()).keys()


def starting(architecture: Architecture, uri: str) -> TrainingRun:
    """From the export at `uri`."""
    return TrainingRun.model_validate(
        {
            "owner": {"namespace": "tests", "name": "run", "uid": "0000"},
            "architecture": architecture,
            "init_from": {"uri": uri},
            "data": {"sources": [{"name": "docs", "storage": {"uri": uri}}], "sequence_length": 16},
            "training": {"steps": 1, "global_batch_size": 8},
            "workers": {"num_nodes": 1},
            "storage": {"uri": uri},
        }
    )


ANOTHER = {
    "fewer layers": {"num_hidden_layers": BASE.num_hidden_layers - 1},
    "other rotations": {"rope_theta": 500.0},
    "fewer experts for a token": {"moe": BASE.moe.model_copy(update={"num_experts_per_tok": 1})},
    "another weight of experts": {"moe": BASE.moe.model_copy(update={"routed_scaling_factor": 1.75})},
}


@pytest.mark.parametrize("change", ANOTHER.values(), ids=ANOTHER.keys())
def test_what_computes_something_else_is_refused_in_the_words_of_preflight(
    change: dict[str, object], export, tmp_path: Path
) -> None:
    reader = export(BASE)
    ours = reader.architecture().model_copy(update=change)
    store = FileObjectStore(tmp_path / "storage" / reader.prefix)
    (words,) = initial_model_problems(starting(ours, store.uri), [], store)
    assert "its architecture is not that of spec.model" in words
    source = open_initial_model(store)

    with pytest.raises(ExportError, match=f"^{re.escape(words)}$"):
        load_weights(source, made(ours, seed=2), ours, group=Alone())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(value: float, export) -> None:
    name = "model.layers.1.mlp.experts.down_proj"
    weights = torch.zeros(8, 32, 24)
    weights[5, 3, 2] = value
    reader = export(BASE, changes={name: weights})

    with pytest.raises(ExportError, match=r"model\.layers\.1\.mlp\.experts\.5\.down_proj\.weight holds NaN"):
        load_weights(reader, made(reader.architecture(), seed=2), reader.architecture(), group=Alone())


def test_a_file_that_is_not_what_the_manifest_says_is_named(export) -> None:
    reader = export(BASE)
    entry = next(entry for entry in reader.manifest.files if entry.key.endswith(".safetensors"))
    path = f"{reader.prefix}{entry.key}"
    content = bytearray(reader.store.read(path))
    content[-3] ^= 1
    reader.store.put(path, bytes(content))

    with pytest.raises(ExportError, match=entry.key):
        load_weights(reader, made(reader.architecture(), seed=2), reader.architecture(), group=Alone())


def test_ranks_share_the_checking_of_files(export) -> None:
    reader = export(BASE)
    files = [entry for entry in reader.manifest.files if entry.key.endswith(".safetensors")]
    entries = [
        entry.model_copy(update={"checksum": object_checksum(b"")}) if entry in files else entry
        for entry in reader.manifest.files
    ]
    damaged = dataclasses.replace(reader, manifest=reader.manifest.model_copy(update={"files": entries}))
    stream = WeightStream(damaged, made(reader.architecture(), seed=2), reader.architecture())

    found = [list(stream.damaged(rank=rank, world_size=3)) for rank in range(3)]

    assert len(files) > 3
    assert sum(map(len, found)) == len(files)
    assert min(map(len, found)) >= len(files) // 3
