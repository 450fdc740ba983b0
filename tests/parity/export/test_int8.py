"""An int8 export is small on disk and in memory; its model is the rounded one, here and in transformers."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from loading import Alone, made
from safetensors.torch import load_file, save_file
from small_architectures import ARCHITECTURES, BASE, NEXTN, OWN, PLAIN, SPARSE
from torch import Tensor
from transformers import AutoModelForCausalLM

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.objective import Quantisation
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.folder import not_finite
from deepseek_workloads.export.load import ExportReader, load_export, open_export
from deepseek_workloads.export.packed_int8 import packed, whole
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.export.start import FolderReader, open_initial_model
from deepseek_workloads.export.stream_weights import load_weights
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.integers import Int8
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.train.quantise import round_state, stored_as_int8

KINDS = {
    "latent attention, routed experts": BASE,
    "biases in attention": ARCHITECTURES["biases in attention"],
    "tied head": ARCHITECTURES["tied head"],
    "indexer": SPARSE,
    "grouped queries": PLAIN["grouped queries"],
    "softmax gates": PLAIN["softmax gates"],
    "lsh": OWN["lsh"],
    "gates of heads": OWN["gates of heads"],
    "more than the next token": NEXTN,
}
# A class each that reads them: of DeepSeek, of dense models, of Mixtral, and our own.
ELSEWHERE = {
    name: KINDS[name]
    for name in ("indexer", "tied head", "grouped queries", "softmax gates", "gates of heads")
}
# Real widths: scales and what stays as it is weigh little.
WIDE = BASE.model_copy(
    update={"vocab_size": 320, "hidden_size": 256, "intermediate_size": 1024, "kv_lora_rank": 64}
)
MODULES = ["model.layers.*.self_attn.*", "model.layers.*.mlp.*"]


@dataclass(frozen=True)
class Int8Export:
    reader: ExportReader
    rounded: DeepseekV3ForCausalLM  # what training measures
    stored: set[str]  # names of the matrices that are int8

    @property
    def weights_bytes(self) -> int:
        return sum(file.size for file in self.reader.manifest.files if file.key.endswith(".safetensors"))


@pytest.fixture
def publish(tmp_path: Path, export_tokenizer: ExportTokenizer, provenance: Provenance):
    def make(
        architecture: Architecture,
        *,
        bits: int = 8,
        modules: list[str] = MODULES,
        dtype: torch.dtype = torch.float32,
    ) -> Int8Export:
        architecture = architecture.model_copy(update={"vocab_size": 320})
        asked = Quantisation.model_validate({"mode": "postTraining", "bits": bits, "modules": modules})
        model, store = made(architecture, seed=1).eval(), FileObjectStore(tmp_path / "storage")
        stored = stored_as_int8(model, asked, architecture)
        export = export_model(
            store,
            state=round_state(model, model.state_dict(), asked, but=stored),
            architecture=architecture,
            tokenizer=export_tokenizer,
            provenance=provenance,
            evaluation={},
            dtype=dtype,
            max_shard_bytes=1_000_000,
            int8=stored,
        )
        rounded = round_state(model, model.state_dict(), asked)
        model.load_state_dict(rounded)
        return Int8Export(open_export(store, export.digest), model, stored)

    return make


def tokens() -> Tensor:
    return torch.randint(320, (2, 12), generator=torch.Generator().manual_seed(0))


def bytes_of(model: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in [*model.parameters(), *model.buffers()])


def bytes_of_int8(matrix: Int8) -> int:
    return matrix.values.numel() + 4 * matrix.scale.numel()


def served(export: Int8Export, **how: object) -> DeepseekV3ForCausalLM:
    return load_export(export.reader.store, export.reader.digest, int8=True, **how).model


@pytest.mark.parametrize("architecture", KINDS.values(), ids=KINDS.keys())
def test_it_is_served_and_loaded_as_the_rounded_model(architecture: Architecture, publish) -> None:
    export = publish(architecture)
    assert export.stored

    expected = export.rounded(tokens())

    torch.testing.assert_close(served(export)(tokens()), expected, atol=1e-6, rtol=1e-5)
    widened = load_export(export.reader.store, export.reader.digest).model
    assert torch.equal(widened(tokens()), expected)


@pytest.mark.parametrize("architecture", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_transformers_computes_the_rounded_model(architecture: Architecture, publish, tmp_path: Path) -> None:
    export = publish(architecture)
    export.reader.download(tmp_path / "folder")

    theirs, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "folder", output_loading_info=True, trust_remote_code=True, attn_implementation="eager"
    )

    assert not info["missing_keys"]
    torch.testing.assert_close(theirs.eval()(tokens()).logits, export.rounded(tokens()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", KINDS.values(), ids=KINDS.keys())
def test_a_run_begins_with_the_rounded_numbers(architecture: Architecture, publish) -> None:
    export = publish(architecture)
    theirs = export.reader.architecture()
    streamed, at_once = made(theirs, seed=2), made(theirs, seed=3)

    load_weights(export.reader, streamed, theirs, group=Alone())
    at_once.load_state_dict(export.reader.state(theirs))

    for model in (streamed, at_once):
        found, expected = model.state_dict(), export.rounded.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 0.25), (torch.bfloat16, 0.5)])
def test_its_matrices_take_a_byte_a_number_on_disk_and_in_memory(
    publish, dtype: torch.dtype, share: float
) -> None:
    plain, small = publish(WIDE, bits=4, dtype=dtype), publish(WIDE, dtype=dtype)
    assert not plain.stored, "4 bits are a figure of quality: what is written keeps its width"
    matrices = {name: each for name, each in small.reader.stored() if isinstance(each, Int8)}
    saved = {
        name: dtype.itemsize * each.values.numel() - bytes_of_int8(each) for name, each in matrices.items()
    }

    assert plain.weights_bytes - small.weights_bytes == pytest.approx(
        sum(saved.values()), rel=0.02
    )  # headers
    assert small.weights_bytes < plain.weights_bytes * (share + 0.15)

    # What attention takes apart is widened.
    kept = sum(each for name, each in saved.items() if "kv_b_proj" not in name)
    wide, narrow = (bytes_of(served(export, dtype=dtype)) for export in (plain, small))
    assert wide - narrow == pytest.approx(kept, rel=0.01)


def test_head_embedding_routers_and_norms_stay_as_they_are(publish) -> None:
    export = publish(SPARSE, modules=["*"])
    stored = dict(export.reader.stored())
    kept = {name for name, tensor in stored.items() if isinstance(tensor, Tensor) and tensor.ndim == 2}

    ends = {name.removesuffix(".weight").rsplit(".", 1)[-1] for name in kept}
    assert ends == {"embed_tokens", "lm_head", "gate", "weights_proj"}
    config = export.reader.document("config.json")["quantization_config"]
    assert (config["quant_method"], config["format"]) == ("compressed-tensors", "pack-quantized")


def test_a_matrix_whose_rows_are_no_multiple_of_four_keeps_its_width(publish) -> None:
    export = publish(ARCHITECTURES["rows that grouped products cannot align"])
    assert not any(".experts." in name for name in export.stored)
    torch.testing.assert_close(served(export)(tokens()), export.rounded(tokens()), atol=1e-6, rtol=1e-5)


def folder_of(export: Int8Export, root: Path) -> tuple[Path, dict[str, Tensor]]:
    """As another maker would leave it: without a manifest, in one file."""
    export.reader.download(root)
    tensors = {
        name: tensor for path in root.glob("*.safetensors") for name, tensor in load_file(path).items()
    }
    for path in [*root.glob("*.safetensors*"), root / "manifest.json"]:
        path.unlink()
    save_file(tensors, root / "model.safetensors")
    return root / "model.safetensors", tensors


def test_a_folder_of_another_maker_has_scales_in_bfloat16_and_is_read(publish, tmp_path: Path) -> None:
    export = publish(BASE)
    path, tensors = folder_of(export, tmp_path / "folder")
    rounded = {n: t.bfloat16() if n.endswith("_scale") else t for n, t in tensors.items()}
    save_file(rounded, path)
    source = open_initial_model(FileObjectStore(tmp_path / "folder"))
    assert isinstance(source, FolderReader)
    assert list(not_finite(source.store, source.folder.tensors())) == []
    name, theirs = "model.layers.0.self_attn.o_proj.weight", source.architecture()

    model = made(theirs, seed=2)
    load_weights(source, model, theirs, group=Alone())

    exact, scale = tensors[f"{name}_scale"], rounded[f"{name}_scale"].float()
    expected = export.rounded.state_dict()[name] / exact * scale
    torch.testing.assert_close(model.state_dict()[name], expected)
    assert torch.equal(source.state(theirs)[name], model.state_dict()[name])


def test_infinite_scales_are_found(publish, tmp_path: Path) -> None:
    path, tensors = folder_of(publish(BASE), tmp_path / "folder")
    name = "model.layers.0.self_attn.o_proj.weight"
    tensors[f"{name}_scale"][3] = float("inf")
    save_file(tensors, path)
    source = open_initial_model(FileObjectStore(tmp_path / "folder"))
    assert isinstance(source, FolderReader)
    assert list(not_finite(source.store, source.folder.tensors())) == [name]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"_scale": None}, r"o_proj\.weight_packed \[32, 10\] has no _scale"),
        ({"_scale": torch.ones(1, 32)}, r"has F32 \[1, 32\] as _scale: must be .*\[32, 1\]"),
        ({"_packed": None}, r"dtype I64: must be one of"),
    ],
)
def test_a_matrix_without_what_belongs_to_it_is_named(
    publish, tmp_path: Path, change: dict[str, Tensor | None], expected: str
) -> None:
    path, tensors = folder_of(publish(BASE), tmp_path / "folder")
    for end, tensor in change.items():
        name = f"model.layers.0.self_attn.o_proj.weight{end}"
        tensors.pop(name)
        tensors |= {} if tensor is None else {name: tensor}
    save_file(tensors, path)
    source = open_initial_model(FileObjectStore(tmp_path / "folder"))
    with pytest.raises(ExportError, match=expected):
        load_weights(source, made(BASE, seed=2), source.architecture(), group=Alone())


def test_in_one_file_a_matrix_lies_beside_its_scales() -> None:
    tensors = packed("a.weight", torch.ones(3, 8))
    tensors.pop("a.weight_scale")
    with pytest.raises(ValueError, match=r"a\.weight_packed has no _scale: must be \[3, 1\]"):
        dict(whole(tensors))
