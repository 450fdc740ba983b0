"""A downloaded export loads by `AutoModelForCausalLM` and `AutoTokenizer` and gives the same logits."""

import json
from pathlib import Path

import pytest
import torch
from exported_model import TEXT, Exported
from small_architectures import ARCHITECTURES, NEXTN, OWN, PLAIN, SEEING, SPARSE
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.generate import Sampling, generate
from deepseek_workloads.export.load import open_export
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.images import find_images
from deepseek_workloads.model.vision import to_patches
from deepseek_workloads.plan.hugging_face_config import class_of
from deepseek_workloads.store.file import FileObjectStore


@pytest.fixture(scope="module")
def folder(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("folder")
    open_export(exported.store, exported.export.digest).download(directory)
    return directory


def ids_of(text: str, exported: Exported) -> torch.Tensor:
    return torch.tensor([exported.tokenizer.encode(text).ids])


def test_the_model_gives_the_same_logits(exported: Exported, folder: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = ids_of(TEXT, exported)

    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, exported.model(ids), atol=1e-4, rtol=1e-4)


def test_no_tensor_is_missing_unexpected_or_changed_in_dtype(folder: Path) -> None:
    theirs, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)

    assert {key: list(value) for key, value in info.items() if value} == {}
    assert {tensor.dtype for tensor in theirs.state_dict().values()} == {torch.float32}


def test_the_tokenizer_gives_the_same_ids_and_knows_the_special_tokens(
    exported: Exported, folder: Path
) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)

    assert theirs(TEXT)["input_ids"] == exported.tokenizer.encode(TEXT).ids
    assert theirs.decode(theirs(TEXT)["input_ids"]) == TEXT
    assert (theirs.bos_token, theirs.eos_token) == ("<|begin_of_text|>", "<|end_of_text|>")
    assert theirs.model_max_length == exported.architecture.max_position_embeddings


def test_greedy_generation_goes_the_same_way(exported: Exported, folder: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = ids_of("The kernel", exported)

    stop = exported.tokenizer.token_to_id("<|end_of_text|>")
    expected = theirs.generate(ids, max_new_tokens=30, do_sample=False)[0, ids.shape[1] :].tolist()
    greedy = Sampling(max_tokens=30, temperature=0)
    ours = list(generate(exported.model, ids[0].tolist(), sampling=greedy, stop=[stop]))

    assert ours == [token for token in expected if token != stop]


KINDS = {
    **{name: ARCHITECTURES[name] for name in ("tied head", "one query projection", "all layers dense")},
    "biases in attention": ARCHITECTURES["biases in attention"],
    "modules for more than the next token": NEXTN,
    "indexer": SPARSE,
    "grouped queries": PLAIN["grouped queries"],
    "sliding window": PLAIN["sliding window"],
    "softmax gates": PLAIN["softmax gates"],
    **{name: OWN[name] for name in ("lsh", "grouped queries, sigmoid gates", "gates of heads")},
    "latent attention, no mixture, tied head": OWN["latent attention, no mixture"].model_copy(
        update={"tie_word_embeddings": True}
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_model_gives_the_same_logits(
    name: str, export_tokenizer: ExportTokenizer, provenance: Provenance, tmp_path: Path
) -> None:
    architecture = KINDS[name].model_copy(update={"vocab_size": 320})
    theirs, ours = loaded_by_hugging_face(architecture, export_tokenizer, provenance, tmp_path)
    ids = torch.arange(64).reshape(2, 32)

    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), atol=1e-4, rtol=1e-4)


def test_a_model_that_sees_gives_the_same_logits_with_and_without_images(
    export_tokenizer: ExportTokenizer, provenance: Provenance, tmp_path: Path
) -> None:
    architecture = SEEING.model_copy(update={"vocab_size": 320})
    theirs, ours = loaded_by_hugging_face(architecture, export_tokenizer, provenance, tmp_path)
    pixels = torch.randint(256, (2, 3, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    ids = torch.arange(100, 164).reshape(2, 32)
    ids[0, 4:13] = ids[1, 20:29] = token = architecture.vision.image_token_id
    text = torch.arange(64, 128).reshape(2, 32)
    images = find_images(ids, to_patches(pixels, patch_size=4), image_token_id=token)

    with torch.no_grad():
        torch.testing.assert_close(theirs(text).logits, ours(text), atol=1e-4, rtol=1e-4)
        with ours.images.within(images):
            expected = ours(ids)
        torch.testing.assert_close(theirs(ids, pixel_values=pixels).logits, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="must be uint8"):
        theirs(ids, pixel_values=pixels.float())


def test_what_our_own_class_does_not_compute_is_refused(
    export_tokenizer: ExportTokenizer, provenance: Provenance, tmp_path: Path
) -> None:
    architecture = OWN["gates of heads"].model_copy(update={"vocab_size": 320})
    theirs, ours = loaded_by_hugging_face(architecture, export_tokenizer, provenance, tmp_path)
    ids, ones = torch.arange(64).reshape(2, 32), torch.ones(2, 32, dtype=torch.int64)
    padded = ones.clone()
    padded[0, :3] = 0

    with torch.no_grad():
        masked = theirs(ids, attention_mask=ones).logits
        torch.testing.assert_close(masked, ours(ids), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"attention_mask: hides 3 tokens: .* group sequences of one length"):
        theirs(ids, attention_mask=padded)
    with pytest.raises(ValueError, match="labels: this model gives logits and no loss"):
        theirs(ids, labels=ids)


def loaded_by_hugging_face(
    architecture: Architecture, tokenizer: ExportTokenizer, provenance: Provenance, path: Path
) -> tuple[torch.nn.Module, DeepseekV3ForCausalLM]:
    ours = DeepseekV3ForCausalLM(architecture).eval()
    ours.init_weights(1)
    store = FileObjectStore(path / "storage")
    export = export_model(
        store,
        state=ours.state_dict(),
        architecture=architecture,
        tokenizer=tokenizer,
        provenance=provenance,
        evaluation={},
        max_shard_bytes=50_000,
    )
    open_export(store, export.digest).download(path / "folder")
    theirs, info = AutoModelForCausalLM.from_pretrained(
        path / "folder",
        output_loading_info=True,
        trust_remote_code=True,  # of the kinds that no class of transformers expresses
        attn_implementation="eager",
    )
    assert not info["missing_keys"]
    assert type(theirs).__name__ == class_of(architecture)
    return theirs.eval(), ours


def test_a_sharded_export_names_its_shards_in_the_index_and_keeps_their_size(
    architecture: Architecture, export_tokenizer: ExportTokenizer, provenance: Provenance, tmp_path: Path
) -> None:
    loaded_by_hugging_face(architecture, export_tokenizer, provenance, tmp_path)

    index = json.loads((tmp_path / "folder" / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in (tmp_path / "folder").glob("*.safetensors"))

    assert sorted(set(index["weight_map"].values())) == shards
    assert len(shards) > 1
    assert all((tmp_path / "folder" / shard).stat().st_size < 60_000 for shard in shards)


def test_a_bfloat16_export_is_half_as_large_and_keeps_the_router_biases_exact(
    model: DeepseekV3ForCausalLM,
    architecture: Architecture,
    export_tokenizer: ExportTokenizer,
    provenance: Provenance,
    tmp_path: Path,
) -> None:
    store = FileObjectStore(tmp_path)
    export = export_model(
        store,
        state=model.state_dict(),
        architecture=architecture,
        tokenizer=export_tokenizer,
        provenance=provenance,
        evaluation={},
        dtype=torch.bfloat16,
    )

    tensors = dict(open_export(store, export.digest).tensors())

    biases = [name for name in tensors if name.endswith("e_score_correction_bias")]
    assert {tensors[name].dtype for name in biases} == {torch.float32}
    assert {tensor.dtype for name, tensor in tensors.items() if name not in biases} == {torch.bfloat16}
    assert torch.equal(tensors[biases[0]], model.state_dict()[biases[0]])
