"""The files of a Hugging Face folder as bytes: weights in shards, configs, tokenizer. It writes nothing."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from tokenizers import Tokenizer
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.export.held_out import HELD_OUT_TEXT, to_document
from deepseek_workloads.export.written import AsInt8, AsItIs, Written
from deepseek_workloads.model.hugging_face import parts_on_disk, to_hugging_face
from deepseek_workloads.plan import custom_model
from deepseek_workloads.plan.configs import own
from deepseek_workloads.plan.configs.int8 import quantization_config
from deepseek_workloads.plan.hugging_face_config import config_json, model_type_of
from deepseek_workloads.plan.tensors import ROUTER_BIAS

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
WEIGHTS_INDEX = "model.safetensors.index.json"

_DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True)
class ExportTokenizer:
    """A tokenizer.json of the `tokenizers` library and the ids that mean something to a model."""

    content: bytes
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    chat_template: str | None = None  # Jinja

    @property
    def ids(self) -> dict[str, int | None]:
        """By the names of config.json."""
        return {
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": self.pad_token_id,
        }


@dataclass(frozen=True)
class ExportFile:
    """Made when asked, each time the same: beside the weights only one shard need be in memory, as copies and
    as bytes."""

    name: str
    content: Callable[[], bytes]


def hugging_face_files(
    state: Mapping[str, Tensor],
    *,
    architecture: Architecture,
    tokenizer: ExportTokenizer,
    held_out: Sequence[str],
    dtype: torch.dtype,
    max_shard_bytes: int,
    int8: Collection[str] = (),
) -> list[ExportFile]:
    """`state` is the state dict of `DeepseekV3ForCausalLM`, whole tensors on the CPU; `int8` names those of
    them that are written as int8 with scales, matrices or experts that `can_be_packed`."""
    tensors = dict(to_hugging_face(state.items(), architecture))
    packed = {part for name in int8 for part, _ in parts_on_disk(name, state[name], architecture)}
    config = config_json(architecture, dtype=_DTYPE_NAMES[dtype], **tokenizer.ids)
    if packed:
        matrices = (name for name, tensor in tensors.items() if tensor.ndim == 2)
        config["quantization_config"] = quantization_config(_modules(matrices), _modules(packed))
    documents = {
        CONFIG: _json(config),
        **_of_tokenizer(tokenizer, architecture),
        **({HELD_OUT_TEXT: to_document(held_out)} if held_out else {}),
    }
    if model_type_of(architecture) == own.MODEL_TYPE:
        documents[own.MODELING_FILE] = Path(__file__).with_name(own.MODELING_FILE).read_bytes()
    written = [
        AsInt8(name, tensor) if name in packed else AsItIs(name, tensor, _dtype_of(name, dtype))
        for name, tensor in tensors.items()
    ]
    return _files(documents, written, max_shard_bytes=max_shard_bytes)


def _modules(names: Iterable[str]) -> list[str]:
    """Of the weights among these names."""
    return [name.removesuffix(".weight") for name in names if name.endswith(".weight")]


def custom_files(
    state: Mapping[str, Tensor],
    *,
    function: str,
    architecture: Architecture,
    tokenizer: ExportTokenizer,
    held_out: Sequence[str],
    max_shard_bytes: int,
) -> list[ExportFile]:
    """`state` is the state dict of the module that a user's `function` made, by its own names and dtypes."""
    tensors = [AsItIs(name, tensor, tensor.dtype) for name, tensor in state.items()]
    documents = {
        CONFIG: _json(custom_model.config_json(architecture, function=function, **tokenizer.ids)),
        **_of_tokenizer(tokenizer, architecture),
        **({HELD_OUT_TEXT: to_document(held_out)} if held_out else {}),
    }
    return _files(documents, tensors, max_shard_bytes=max_shard_bytes)


def _of_tokenizer(tokenizer: ExportTokenizer, architecture: Architecture) -> dict[str, bytes]:
    return {
        GENERATION_CONFIG: _json({name: value for name, value in tokenizer.ids.items() if value is not None}),
        TOKENIZER: tokenizer.content,
        TOKENIZER_CONFIG: _json(_tokenizer_config(tokenizer, architecture)),
    }


def _files(
    documents: Mapping[str, bytes], tensors: Sequence[Written], *, max_shard_bytes: int
) -> list[ExportFile]:
    weights = _weight_files(tensors, max_shard_bytes=max_shard_bytes)
    return [*(ExportFile(name, partial(bytes, content)) for name, content in documents.items()), *weights]


def _weight_files(tensors: Sequence[Written], *, max_shard_bytes: int) -> Iterator[ExportFile]:
    shards = list(_shards(tensors, max_shard_bytes=max_shard_bytes))
    files = ["model.safetensors"]
    if len(shards) > 1:
        files = [f"model-{index:05d}-of-{len(shards):05d}.safetensors" for index in range(1, len(shards) + 1)]
        places = {
            name: file
            for file, shard in zip(files, shards, strict=True)
            for tensor in shard
            for name in tensor.names
        }
        size = sum(tensor.size for tensor in tensors)
        index = _json({"metadata": {"total_size": size}, "weight_map": places})
        yield ExportFile(WEIGHTS_INDEX, partial(bytes, index))
    for file, shard in zip(files, shards, strict=True):
        yield ExportFile(file, partial(_serialise, shard))


def _shards(tensors: Sequence[Written], *, max_shard_bytes: int) -> Iterator[list[Written]]:
    """In order, cut where the next tensor would exceed the size; a larger tensor is alone."""
    shard: list[Written] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.size > max_shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.size
    yield shard


def _serialise(tensors: Sequence[Written]) -> bytes:
    copies = {name: copy for tensor in tensors for name, copy in tensor.tensors().items()}
    content: bytes = to_safetensors(copies, metadata={"format": "pt"})
    return content


def _dtype_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """Router biases differ by less than bf16 can tell apart: they stay float32, as in the published model."""
    return torch.float32 if name.endswith(ROUTER_BIAS) else dtype


def _tokenizer_config(tokenizer: ExportTokenizer, architecture: Architecture) -> dict[str, Any]:
    """What `AutoTokenizer` needs beside tokenizer.json."""
    known = Tokenizer.from_str(tokenizer.content.decode())
    special = {
        "bos_token": tokenizer.bos_token_id,
        "eos_token": tokenizer.eos_token_id,
        "pad_token": tokenizer.pad_token_id,
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: known.id_to_token(number) for name, number in special.items() if number is not None},
        **({"chat_template": tokenizer.chat_template} if tokenizer.chat_template is not None else {}),
        "model_max_length": architecture.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
