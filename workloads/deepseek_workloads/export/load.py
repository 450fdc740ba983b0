"""Reads an export and believes nothing: the manifest is held against its digest, every file against it.

`store` lies either at the job's storage (then `digest` names the export) or at the export's own prefix.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from tokenizers import Tokenizer
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import digest_in_uri, export_prefix, join_uri
from deepseek_workloads.contract.records import ExportManifest, FileEntry
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.files import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from deepseek_workloads.export.held_out import HELD_OUT_TEXT, from_document
from deepseek_workloads.export.packed_int8 import whole
from deepseek_workloads.export.publish import EXPORT_MANIFEST
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.hugging_face import from_hugging_face, in_our_parts
from deepseek_workloads.model.int8 import keep_int8
from deepseek_workloads.model.integers import Int8, widened
from deepseek_workloads.plan.hugging_face_config import architecture_of
from deepseek_workloads.store.interface import ObjectInfo, ObjectStore


@dataclass(frozen=True)
class LoadedExport:
    model: DeepseekV3ForCausalLM  # in evaluation mode
    tokenizer: Tokenizer
    manifest: ExportManifest
    digest: str
    eos_token_id: int | None
    tokenizer_config: Mapping[str, Any]  # empty where the export has none
    held_out: Sequence[str] = ()  # texts; older exports have none


@dataclass(frozen=True)
class ExportReader:
    """A verified manifest, and reads of its files that are verified too."""

    store: ObjectStore
    prefix: str
    manifest: ExportManifest
    digest: str

    @property
    def uri(self) -> str:
        return join_uri(self.store.uri, self.prefix.rstrip("/"))

    def info(self, entry: FileEntry) -> ObjectInfo:
        """Raises StoreErrors, and ExportError when the size is not what the manifest says."""
        info = self.store.stat(f"{self.prefix}{entry.key}")
        if info.size != entry.size:
            raise ExportError(
                f"{self._uri(entry.key)}: {info.size} bytes: must be {entry.size}; restore the object, or "
                "export the model again"
            )
        return info

    def has(self, name: str) -> bool:
        return any(entry.key == name for entry in self.manifest.files)

    def read(self, name: str) -> bytes:
        """Raises ExportError when the file is not in the manifest or not what it says."""
        for entry in self.manifest.files:
            if entry.key == name:
                return self._read(entry)
        raise ExportError(f"{self._uri(name)}: the manifest names no such file; export the model again")

    def stored(self) -> Iterator[tuple[str, Tensor | Int8]]:
        """Under Hugging Face's names, one file in memory at a time; what is int8 as it is."""
        for entry in self._weight_entries():
            try:
                yield from whole(from_safetensors(self._read(entry)))
            except (SafetensorError, ValueError) as error:
                raise ExportError(f"{self._uri(entry.key)}: no safetensors: {error}") from error

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """As `stored`, with what is int8 widened to float32."""
        for name, tensor in self.stored():
            yield name, widened(tensor) if isinstance(tensor, Int8) else tensor

    def weights(self) -> list[ObjectInfo]:
        """Raises ExportError and StoreErrors, see `info`."""
        return [self.info(entry) for entry in self._weight_entries()]

    def checksums(self) -> dict[str, str]:
        """Of the weights' files, by key."""
        return {f"{self.prefix}{entry.key}": entry.checksum for entry in self._weight_entries()}

    def _weight_entries(self) -> list[FileEntry]:
        return [entry for entry in self.manifest.files if entry.key.endswith(".safetensors")]

    def tokenizer(self) -> Tokenizer:
        document = self.read(TOKENIZER)
        try:
            return Tokenizer.from_buffer(document)
        except Exception as error:  # the library raises nothing narrower
            raise ExportError(
                f"{self._uri(TOKENIZER)}: no tokenizer.json that the tokenizers library reads: {error}"
            ) from error

    def architecture(self) -> Architecture:
        try:
            return architecture_of(self.document(CONFIG))
        except ValueError as error:
            raise ExportError(f"{self._uri(CONFIG)}: {error}") from error

    def document(self, name: str) -> dict[str, Any]:
        """Raises ExportError, also for what is no object."""
        try:
            document = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{self._uri(name)}: no JSON: {error}") from error
        if not isinstance(document, dict):
            raise ExportError(f"{self._uri(name)}: must be a JSON object")
        return document

    def held_out(self) -> list[str]:
        """Texts that the model was not trained on; none in an older export."""
        if not self.has(HELD_OUT_TEXT):
            return []
        try:
            return from_document(self.read(HELD_OUT_TEXT))
        except ValueError as error:
            raise ExportError(f"{self._uri(HELD_OUT_TEXT)}: {error}") from error

    def state(self, architecture: Architecture) -> dict[str, Tensor]:
        """The state dict of a `DeepseekV3ForCausalLM` of this architecture, which may differ from the
        export's in what is about training, and have fewer modules for more than the next token."""
        return from_hugging_face(self.tensors(), architecture)

    def int8_state(self, architecture: Architecture) -> tuple[dict[str, Tensor], dict[str, Int8]]:
        """As `state`, with the int8 matrices apart, as they are."""
        scales: dict[str, Tensor] = {}

        def values() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in self.stored():
                if isinstance(tensor, Int8):
                    scales[name] = tensor.scale
                yield name, tensor.values if isinstance(tensor, Int8) else tensor

        state = from_hugging_face(values(), architecture)
        ours = in_our_parts(scales.items(), architecture)
        return state, {name: Int8(state.pop(name), scale) for name, scale in ours.items()}

    def download(self, directory: Path) -> None:
        """A folder for `from_pretrained`, with the manifest beside it."""
        directory.mkdir(parents=True, exist_ok=True)
        for entry in self.manifest.files:
            path = directory / entry.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._read(entry))
        (directory / EXPORT_MANIFEST).write_bytes(self.manifest.to_json())

    def _read(self, entry: FileEntry) -> bytes:
        content = self.store.read(f"{self.prefix}{entry.key}")
        found = object_checksum(content)
        if (len(content), found) != (entry.size, entry.checksum):
            raise ExportError(
                f"{self._uri(entry.key)}: {len(content)} bytes with {found}: must be {entry.size} bytes with "
                f"{entry.checksum}; the object was damaged or replaced: restore it, or export the model again"
            )
        return content

    def _uri(self, name: str) -> str:
        return join_uri(self.store.uri, f"{self.prefix}{name}")


def open_export(
    store: ObjectStore, digest: str | None = None, *, recorded: str | None = None
) -> ExportReader:
    """With `digest`: the export of that name below `store`, a job's storage. Without: the one at `store.uri`
    itself, held against the digest that was `recorded` elsewhere, or that the URI's last segment is, where
    there is one. Raises ExportError and StoreErrors."""
    prefix = "" if digest is None else export_prefix(digest)
    expected = digest or recorded or digest_in_uri(store.uri)
    document = store.read(f"{prefix}{EXPORT_MANIFEST}")
    uri = join_uri(store.uri, f"{prefix}{EXPORT_MANIFEST}")
    found = sha256_digest(document)
    if expected is not None and found != expected:
        raise ExportError(
            f"{uri}: digest {found}: must be {expected}; name another export, or restore this one"
        )
    try:
        manifest = ExportManifest.model_validate_json(document)
    except ValidationError as error:
        raise ExportError(f"{uri}: no manifest of this version: {error}; export the model again") from error
    return ExportReader(store, prefix, manifest, found)


def load_export(
    store: ObjectStore,
    digest: str | None = None,
    *,
    recorded: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    int8: bool = False,
) -> LoadedExport:
    """The model in `dtype` on `device` but for router biases, in evaluation mode and without modules for more
    than the next token, with its tokenizer. `int8`: matrices that are stored so stay so in memory, which is
    for inference; else they are widened. See `open_export`."""
    reader = open_export(store, digest, recorded=recorded)
    architecture = reader.architecture().model_copy(update={"num_nextn_predict_layers": 0})
    with torch.device("meta"):
        model = DeepseekV3ForCausalLM(architecture)
    try:
        state, matrices = reader.int8_state(architecture) if int8 else (reader.state(architecture), {})
        state |= keep_int8(model, matrices)
        model.load_state_dict({name: tensor.to(device) for name, tensor in state.items()}, assign=True)
    except (RuntimeError, ValueError) as error:
        uri = join_uri(store.uri, reader.prefix)
        raise ExportError(f"{uri}: the weights are not those of {CONFIG}: {error}") from error
    eos: int | None = reader.document(CONFIG).get("eos_token_id")
    return LoadedExport(
        model=lowered(model, dtype).to(device).eval(),
        tokenizer=reader.tokenizer(),
        manifest=reader.manifest,
        digest=reader.digest,
        eos_token_id=eos,
        tokenizer_config=reader.document(TOKENIZER_CONFIG) if reader.has(TOKENIZER_CONFIG) else {},
        held_out=reader.held_out(),
    )


def lowered(model: DeepseekV3ForCausalLM, dtype: torch.dtype) -> DeepseekV3ForCausalLM:
    """The same module. Router biases stay float32, as exports have them: in bf16 some would be equal, and
    others be chosen."""
    gates = [mixture.gate for mixture in model.mixtures() if mixture.gate.biased]
    exact = [gate.e_score_correction_bias.float() for gate in gates]
    model.to(dtype)
    for gate, bias in zip(gates, exact, strict=True):
        gate.e_score_correction_bias = bias
    return model
