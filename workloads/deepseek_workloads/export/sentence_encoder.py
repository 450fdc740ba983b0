"""Embeddings of texts by a transformer (BERT and its like), of a folder as Hugging Face or Sentence
Transformers write it: `config.json`, `model.safetensors`, `tokenizer.json`, and, where it is not the mean of
the tokens' states, how they are pooled in `1_Pooling/config.json`.

By the transformers library, from safetensors alone and without code of the folder. The library is optional:
an image without it refuses.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.embedding import (
    CONFIG_FILE,
    MAX_MODEL_BYTES,
    MODEL_FILES,
    TOKENIZER_FILE,
    Vectors,
)
from deepseek_workloads.store.interface import NotFound, ObjectStore

POOLING_FILE: Final = "1_Pooling/config.json"
MODULES_FILE: Final = "modules.json"
_MODULES: Final = ("Transformer", "Pooling", "Normalize")  # of Sentence Transformers
_TOGETHER: Final = 32  # texts of about one length
_MAX_TOKENS: Final = 512  # of a text
# Positions of these begin after the padding token's number.
_OFFSET_POSITIONS: Final = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


@dataclass(frozen=True)
class SentenceEncoder:
    model: Any  # in evaluation mode, float32
    tokenizer: Tokenizer  # which cuts
    dimensions: int
    first_token: bool  # its state is the text's; else the mean of all

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Vectors:
        encoded = self.tokenizer.encode_batch(list(texts))
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda at: len(encoded[at].ids))
        for start in range(0, len(order), _TOGETHER):
            rows = [at for at in order[start : start + _TOGETHER] if encoded[at].ids]
            if rows:
                vectors[rows] = self._embed([encoded[at].ids for at in rows])
        return vectors

    def _embed(self, ids: Sequence[Sequence[int]]) -> Vectors:
        longest = max(map(len, ids))
        padding = self.model.config.pad_token_id or 0
        given = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        states = self.model(input_ids=given, attention_mask=mask).last_hidden_state
        if self.first_token:
            pooled = states[:, 0]
        else:
            weights = mask[:, :, None].to(states.dtype)
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        found: Vectors = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return found


def load_sentence_encoder(store: ObjectStore) -> SentenceEncoder:
    """From the folder that the store is at. Raises DatasetError, and StoreErrors."""
    try:
        from transformers import AutoModel  # optional, and of these datasets only
    except ImportError as error:
        raise DatasetError(
            f"deduplicateSemantic.model.uri: {store.uri}: is a transformer, and this image has no library "
            "for it: name one in spec.image that has the extra encoders, such as FROM this one with USER "
            "0, RUN pip --python /opt/venv/bin/python install 'transformers>=5.2' and USER 1000:1000, or use "
            "a static embedding model",
            reasons.INVALID_RUN_CONFIG,
        ) from error
    contents = {name: _read(store, name) for name in MODEL_FILES}
    first_token = _pools_first_token(store)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            Path(folder, name).write_bytes(content)
        try:
            model = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
            ).eval()
            tokenizer = Tokenizer.from_buffer(contents[TOKENIZER_FILE])
        except Exception as error:  # the libraries raise nothing narrower
            raise _refused(store, f"cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(_limit(model.config))
    return SentenceEncoder(model, tokenizer, int(model.config.hidden_size), first_token)


def _read(store: ObjectStore, name: str) -> bytes:
    try:
        if store.stat(name).size > MAX_MODEL_BYTES:
            raise _refused(store, f"{name} has more than {MAX_MODEL_BYTES} bytes")
        return store.read(name)
    except NotFound as error:
        raise _refused(store, f"has no {name}") from error


def _pools_first_token(store: ObjectStore) -> bool:
    modules = _document(store, MODULES_FILE) or []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    unknown = [kind for kind in kinds if kind not in _MODULES]
    if unknown:
        raise _refused(store, f"{MODULES_FILE} has {unknown[0]}, and only {', '.join(_MODULES)} are known")
    pooling = _document(store, POOLING_FILE) or {"pooling_mode": "mean"}
    mode = pooling.get("pooling_mode")
    wanted = [mode] if isinstance(mode, str) else _modes(pooling)
    if wanted not in (["mean"], ["cls"]):
        raise _refused(store, f"{POOLING_FILE} pools by {wanted}, and only mean or cls is known")
    return wanted == ["cls"]


def _modes(pooling: dict[str, Any]) -> list[str]:
    """As older versions write it, a flag each."""
    flags = {name.removeprefix("pooling_mode_"): value for name, value in pooling.items() if value is True}
    modes = [
        name.removesuffix("_tokens").removesuffix("_token") for name in flags if name != "include_prompt"
    ]
    return sorted(modes)


def _document(store: ObjectStore, name: str) -> Any:
    """None: there is no such file."""
    try:
        return json.loads(store.read(name))
    except NotFound:
        return None
    except ValueError as error:
        raise _refused(store, f"{name} is no JSON") from error


def _limit(config: Any) -> int:
    """Tokens of a text."""
    positions = int(getattr(config, "max_position_embeddings", None) or _MAX_TOKENS)
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return min(_MAX_TOKENS, positions)


def _refused(store: ObjectStore, why: str) -> DatasetError:
    return DatasetError(
        f"deduplicateSemantic.model.uri: {store.uri}: {why}: name the folder of a static embedding model, as "
        f"Model2Vec writes it, or of a transformer with {', '.join(MODEL_FILES)}; {CONFIG_FILE} tells which",
        reasons.INVALID_RUN_CONFIG,
    )
