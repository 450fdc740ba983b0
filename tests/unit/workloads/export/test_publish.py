"""An export is published by one write, named by its content, and read with suspicion."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.load import load_export, open_export
from deepseek_workloads.export.publish import Export, export_model
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import NotFound, ObjectChanged

ARCHITECTURE = Architecture(
    vocab_size=8,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    kv_lora_rank=4,
    qk_nope_head_dim=4,
    qk_rope_head_dim=2,
    v_head_dim=4,
    max_position_embeddings=16,
    moe=MoE(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=4, bias_update_speed=0.5),
)
TOKENIZER = ExportTokenizer(
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).to_str().encode(),
    eos_token_id=1,
)

ExportIt = Callable[..., Export]


@pytest.fixture
def store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


@pytest.fixture
def model() -> DeepseekV3ForCausalLM:
    made = DeepseekV3ForCausalLM(ARCHITECTURE)
    made.init_weights(1)
    made.update_router_bias(torch.tensor([[4, 0, 1, 3]]))
    return made


@pytest.fixture
def export(provenance: Provenance) -> ExportIt:
    """`export(store, model)`: fields of its provenance by name."""

    def make(store: FileObjectStore, model: DeepseekV3ForCausalLM, **changes: object) -> Export:
        return export_model(
            store,
            state=model.state_dict(),
            architecture=ARCHITECTURE,
            tokenizer=TOKENIZER,
            provenance=provenance.model_copy(update=changes),
            evaluation={"held_out_bits_per_byte": 2.5},
        )

    return make


def test_one_file_at_a_time_is_made_and_written(
    export: ExportIt, tmp_path: Path, model: DeepseekV3ForCausalLM
) -> None:
    """A rank's memory is reckoned for one shard beside the weights."""
    writers: set[int] = set()

    class Watched(FileObjectStore):
        def put(self, key: str, content: bytes) -> None:
            writers.add(threading.get_ident())
            super().put(key, content)

    export(Watched(tmp_path), model)

    assert writers == {threading.get_ident()}


def test_everything_lies_below_the_digest_of_the_manifest(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    published = export(store, model)

    names = [info.key.removeprefix(published.prefix) for info in store.list("")]
    assert sorted(names) == [
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert published.digest == sha256_digest(store.read(f"{published.prefix}manifest.json"))
    assert published.uri == f"{store.uri}/exports/{published.digest.replace(':', '-')}"


def test_the_manifest_leads_back_to_the_data(
    export: ExportIt, provenance: Provenance, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    manifest = open_export(store, export(store, model).digest).manifest

    assert manifest.provenance == provenance
    assert manifest.evaluation == {"held_out_bits_per_byte": 2.5}
    assert manifest.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_manifest_is_the_last_write(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    writes = []

    class Recorded(FileObjectStore):
        def put(self, key: str, content: bytes) -> None:
            writes.append(key.rpartition("/")[2])
            super().put(key, content)

        def create(self, key: str, content: bytes) -> None:
            writes.append(key.rpartition("/")[2])
            super().create(key, content)

    export(Recorded(Path(store.uri.removeprefix("file://"))), model)

    assert (writes[-1], writes.count("manifest.json")) == ("manifest.json", 1)


def test_repeating_an_export_finds_the_same_one(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    assert export(store, model) == export(store, model)


def test_another_provenance_is_another_export(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    later = export(store, model, step=8)

    assert later.digest != export(store, model).digest


def test_a_foreign_document_in_the_place_of_the_manifest_is_an_error(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    published = export(store, model)
    store.put(f"{published.prefix}manifest.json", b"{}")

    with pytest.raises(ObjectChanged, match="another document than its digest says"):
        export(store, model)


@pytest.mark.parametrize("at_its_own_prefix", [False, True])
def test_loading_gives_the_same_model_architecture_and_router_biases(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM, at_its_own_prefix: bool
) -> None:
    published = export(store, model)
    folder = FileObjectStore(Path(published.uri.removeprefix("file://")))

    loaded = load_export(folder) if at_its_own_prefix else load_export(store, published.digest)

    torch.testing.assert_close(dict(loaded.model.state_dict()), dict(model.state_dict()), atol=0, rtol=0)
    assert loaded.model.architecture == ARCHITECTURE
    assert (loaded.digest, loaded.eos_token_id) == (published.digest, 1)
    assert not loaded.model.training


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_is_named(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM, name: str
) -> None:
    published = export(store, model)
    content = bytearray(store.read(f"{published.prefix}{name}"))
    content[len(content) // 2] ^= 1
    store.put(f"{published.prefix}{name}", bytes(content))

    with pytest.raises(ExportError, match=f"{name}.*damaged or replaced"):
        load_export(store, published.digest)


def test_a_changed_manifest_is_not_the_export_that_was_asked_for(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    published = export(store, model)
    document = json.loads(store.read(f"{published.prefix}manifest.json"))
    document["evaluation"] = {"held_out_bits_per_byte": 0.1}
    store.put(f"{published.prefix}manifest.json", json.dumps(document).encode())

    with pytest.raises(ExportError, match=f"must be {published.digest}"):
        open_export(store, published.digest)


def test_a_prefix_that_carries_a_digest_is_held_against_it(
    export: ExportIt, store: FileObjectStore, model: DeepseekV3ForCausalLM
) -> None:
    published = export(store, model)
    store.put(f"{published.prefix}manifest.json", b"{}")

    with pytest.raises(ExportError, match=f"must be {published.digest}"):
        open_export(FileObjectStore(Path(published.uri.removeprefix("file://"))))


def test_a_missing_export_is_not_found(store: FileObjectStore) -> None:
    with pytest.raises(NotFound):
        open_export(store, sha256_digest(b"nothing"))
