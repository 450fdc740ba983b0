"""Who can write to the bucket plants an export whose digests are right: it is refused before anything is done
with it."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.load import ExportError, load_export, open_export
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.file import FileObjectStore

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
    moe=MoE(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=4),
)


class Planted:
    """A sound export at a place of its own, of which a part is replaced and the manifest made to fit."""

    def __init__(self, root: Path, provenance: Provenance, tokenizer: ExportTokenizer) -> None:
        model = DeepseekV3ForCausalLM(ARCHITECTURE)
        model.init_weights(1)
        export = export_model(
            FileObjectStore(root),
            state=model.state_dict(),
            architecture=ARCHITECTURE,
            tokenizer=tokenizer,
            provenance=provenance,
            evaluation={},
        )
        copied = root / "copied"  # its URI carries no digest
        (root / export.prefix).rename(copied)
        self.store = FileObjectStore(copied)
        self.manifest: dict[str, Any] = json.loads(self.store.read("manifest.json"))

    def replace(self, name: str, content: bytes) -> None:
        self.store.put(name, content)
        self.name(name, size=len(content), checksum=object_checksum(content))

    def name(self, name: str, **changes: Any) -> None:
        (entry,) = [entry for entry in self.manifest["files"] if entry["key"] == name]
        entry |= changes

    def digest(self) -> str:
        document = json.dumps(self.manifest).encode()
        self.store.put("manifest.json", document)
        return sha256_digest(document)


@pytest.fixture
def planted(tmp_path: Path, provenance: Provenance) -> Planted:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    return Planted(tmp_path, provenance, ExportTokenizer(words.to_str().encode(), eos_token_id=1))


class Payload:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._canary),)


def test_what_is_planted_below_loads_as_it_is(planted: Planted) -> None:
    assert load_export(planted.store, recorded=planted.digest()).model.architecture == ARCHITECTURE


@pytest.mark.parametrize("key", ["../outside", "/tmp/outside", "sub/../../outside", "..", "a\\b", "a\0b"])
def test_a_key_that_leads_elsewhere(planted: Planted, tmp_path: Path, key: str) -> None:
    (tmp_path / "outside").write_bytes(planted.store.read("tokenizer.json"))
    planted.name("tokenizer.json", key=key)
    digest, before = planted.digest(), sorted(tmp_path.rglob("*"))

    with pytest.raises(ExportError, match="no manifest of this version"):
        open_export(planted.store, recorded=digest).download(tmp_path / "copied")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"]
)
def test_a_pickle_is_not_executed(planted: Planted, tmp_path: Path, name: str) -> None:
    payload = pickle.dumps(Payload(tmp_path / "canary"))
    planted.replace(name, payload)

    with pytest.raises(ExportError, match=name):
        load_export(planted.store, recorded=planted.digest())
    assert not (tmp_path / "canary").exists()
    pickle.loads(payload)
    assert (tmp_path / "canary").exists()  # else the test would prove nothing


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**9},
        {"num_nextn_predict_layers": 10**9},
        {"hidden_size": -1},
        {"hidden_size": 10**30},
        {"vocab_size": "many"},
        {"model_type": "executable"},
    ],
)
def test_counts_that_are_none(planted: Planted, config: dict[str, Any]) -> None:
    planted.replace(
        "config.json", json.dumps(json.loads(planted.store.read("config.json")) | config).encode()
    )

    with pytest.raises(ExportError, match=r"config\.json"):
        load_export(planted.store, recorded=planted.digest())


@pytest.mark.parametrize("document", [b"[]", b"[" * 100_000, b"\xff", b"9" * 5000])
def test_a_config_that_is_none(planted: Planted, document: bytes) -> None:
    planted.replace("config.json", document)

    with pytest.raises(ExportError, match=r"config\.json"):
        load_export(planted.store, recorded=planted.digest())


def test_a_config_of_another_model(planted: Planted) -> None:
    sound = json.loads(planted.store.read("config.json"))
    planted.replace("config.json", json.dumps(sound | {"intermediate_size": 16}).encode())

    with pytest.raises(ExportError, match=r"not those of config\.json"):
        load_export(planted.store, recorded=planted.digest())


def test_a_size_that_no_memory_has(planted: Planted) -> None:
    planted.name("model.safetensors", size=2**62)

    with pytest.raises(ExportError, match="damaged or replaced"):
        load_export(planted.store, recorded=planted.digest())
