"""A Hugging Face folder as others write it: config.json, safetensors, and perhaps a tokenizer. No torch.

Nothing records what its files must be: it is taken as found, and pinned by ETags while it is read. Formats in
which weights are programs (pickle) are not read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.export.safetensors_index import INT8, StoredTensor, stored_tensors
from deepseek_workloads.store.interface import BATCH_BYTES, ByteRange, NotFound, ObjectInfo, ObjectStore

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Of each dtype the unsigned integer of its width, and the bits that are all set in NaN and infinity only.
_EXPONENTS: Mapping[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E4M3": ("u1", 0x7F),  # which has no infinity
}


class FolderError(ValueError):
    """What lies there is no such folder; the message names the file and the remedy."""


@dataclass(frozen=True)
class HuggingFaceFolder:
    store: ObjectStore  # at the folder
    config: Mapping[str, Any]  # of config.json
    weights: Sequence[ObjectInfo]
    has_tokenizer: bool

    def tensors(self) -> dict[str, StoredTensor]:
        """By the name on disk. Raises SafetensorsError and StoreErrors."""
        return stored_tensors(self.store, self.weights)


def open_folder(store: ObjectStore) -> HuggingFaceFolder:
    """Raises FolderError and StoreErrors; NotFound where there is no config.json."""
    config = _document(store, CONFIG)
    listed = {info.key: info for info in store.list("") if "/" not in info.key}
    return HuggingFaceFolder(store, config, _weights(store, listed), TOKENIZER in listed)


def not_finite(store: ObjectStore, tensors: Mapping[str, StoredTensor]) -> Iterator[str]:
    """The names of tensors that hold NaN or infinity, by reading all of them, a part at a time."""
    for name, tensor in tensors.items():
        parts = [part for part in (tensor, tensor.scales) if part is not None and part.dtype != INT8]
        if any(_holds_no_number(store, part) for part in parts):
            yield name


def _holds_no_number(store: ObjectStore, tensor: StoredTensor) -> bool:
    integer, exponent = _EXPONENTS[tensor.dtype]
    for part in _parts(tensor):
        (content,) = store.read_ranges([part])
        bits = np.frombuffer(content, dtype=integer)
        if bool(((bits & exponent) == exponent).any()):
            return True
    return False


def _parts(tensor: StoredTensor) -> Iterator[ByteRange]:
    end = tensor.start + tensor.size
    for start in range(tensor.start, end, BATCH_BYTES):
        yield ByteRange(tensor.key, start, min(start + BATCH_BYTES, end), tensor.etag)


def _weights(store: ObjectStore, listed: Mapping[str, ObjectInfo]) -> list[ObjectInfo]:
    """Files that the index names, where there is one: others may lie beside them."""
    if _INDEX not in listed:
        names = [_WEIGHTS]
    else:
        named = _document(store, _INDEX).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise FolderError(f"{join_uri(store.uri, _INDEX)}: has no weight_map: write the folder again")
        names = sorted(set(map(str, named.values())))
    missing = [name for name in names if name not in listed]
    if not missing:
        return [listed[name] for name in names]
    others = [key for key in listed if key.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if _INDEX not in listed and others:
        raise FolderError(
            f"{join_uri(store.uri, others[0])}: weights in pickle are not read, since reading them runs what "
            f"they say: save the model as {_WEIGHTS} (save_pretrained does)"
        )
    raise FolderError(
        f"{store.uri}: {len(missing)} of its {len(names)} files of weights do not exist, the first is "
        f"{missing[0]}: copy the whole folder"
    )


def _document(store: ObjectStore, name: str) -> dict[str, Any]:
    try:
        document = json.loads(store.read(name))
    except NotFound as error:
        raise NotFound(
            f"{join_uri(store.uri, name)} does not exist, nor a manifest.json: name the prefix of an export "
            "(status.export.uri of a job), or of a Hugging Face folder"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{join_uri(store.uri, name)}: no JSON: {error}: write the folder again") from error
    if not isinstance(document, dict):
        raise FolderError(f"{join_uri(store.uri, name)}: must be an object: write the folder again")
    return document
