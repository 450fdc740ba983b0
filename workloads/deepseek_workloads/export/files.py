"""The files of a Hugging Face folder as bytes: weights in shards, configs, tokenizer. It writes nothing."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from deepseek_workloads.model.hugging_face import to_hugging_face
from deepseek_workloads.plan import custom_model
from deepseek_workloads.plan.configs import own
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
) -> list[ExportFile]:
    """`state` is the state dict of `DeepseekV3ForCausalLM`, whole tensors on the CPU."""
    documents = {
        CONFIG: _json(config_json(architecture, dtype=_DTYPE_NAMES[dtype], **tokenizer.ids)),
        **_of_tokenizer(tokenizer, architecture),
        **({HELD_OUT_TEXT: to_document(held_out)} if held_out else {}),
    }
    if model_type_of(architecture) == own.MODEL_TYPE:
        documents[own.MODELING_FILE] = Path(__file__).with_name(own.MODELING_FILE).read_bytes()
    tensors = dict(to_hugging_face(state.items(), architecture))
    return _files(documents, tensors, dtype=dtype, max_shard_bytes=max_shard_bytes)


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
    documents = {
        CONFIG: _json(custom_model.config_json(architecture, function=function, **tokenizer.ids)),
        **_of_tokenizer(tokenizer, architecture),
        **({HELD_OUT_TEXT: to_document(held_out)} if held_out else {}),
    }
    return _files(documents, state, dtype=None, max_shard_bytes=max_shard_bytes)


def _of_tokenizer(tokenizer: ExportTokenizer, architecture: Architecture) -> dict[str, bytes]:
    return {
        GENERATION_CONFIG: _json({name: value for name, value in tokenizer.ids.items() if value is not None}),
        TOKENIZER: tokenizer.content,
        TOKENIZER_CONFIG: _json(_tokenizer_config(tokenizer, architecture)),
    }


def _files(
    documents: Mapping[str, bytes],
    tensors: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None,
    max_shard_bytes: int,
) -> list[ExportFile]:
    """`dtype` None: tensors are written in their own."""
    weights = _weight_files(tensors, dtype=dtype, max_shard_bytes=max_shard_bytes)
    return [*(ExportFile(name, partial(bytes, content)) for name, content in documents.items()), *weights]


def _weight_files(
    tensors: Mapping[str, Tensor], *, dtype: torch.dtype | None, max_shard_bytes: int
) -> Iterator[ExportFile]:
    shards = list(_shards(tensors, dtype=dtype, max_shard_bytes=max_shard_bytes))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{index:05d}-of-{len(shards):05d}.safetensors" for index in range(1, len(shards) + 1)]
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        size = sum(_size(name, tensor, dtype) for name, tensor in tensors.items())
        index = _json({"metadata": {"total_size": size}, "weight_map": places})
        yield ExportFile(WEIGHTS_INDEX, partial(bytes, index))
    for name, shard in zip(names, shards, strict=True):
        yield ExportFile(name, partial(_serialise, {key: tensors[key] for key in shard}, dtype))


def _shards(
    tensors: Mapping[str, Tensor], *, dtype: torch.dtype | None, max_shard_bytes: int
) -> Iterator[list[str]]:
    """Names in order, cut where the next tensor would exceed the size; a larger tensor is alone."""
    shard: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        more = _size(name, tensor, dtype)
        if shard and size + more > max_shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += more
    yield shard


def _serialise(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> bytes:
    # A copy of each: the slices of fused experts share memory, which the format does not know.
    copies = {
        name: tensor.detach().to(_dtype_of(name, tensor, dtype), copy=True)
        for name, tensor in tensors.items()
    }
    content: bytes = to_safetensors(
        {name: copy.contiguous() for name, copy in copies.items()}, metadata={"format": "pt"}
    )
    return content


def _dtype_of(name: str, tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """Router biases differ by less than bf16 can tell apart: they stay float32, as in the published model."""
    if dtype is None:
        return tensor.dtype
    return torch.float32 if name.endswith(ROUTER_BIAS) else dtype


def _size(name: str, tensor: Tensor, dtype: torch.dtype | None) -> int:
    return tensor.numel() * _dtype_of(name, tensor, dtype).itemsize


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
