"""Embeddings of texts by a static model: a vector a token, their mean a text. No I/O but reading the model.

The folder is one as Model2Vec and Sentence Transformers' StaticEmbedding write it: `model.safetensors` with
a row a token, `tokenizer.json`, `config.json`. Such a model needs no accelerator, and no more than a look-up
a token.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load
from tokenizers import Tokenizer

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.interface import NotFound, ObjectStore

WEIGHTS_FILE, TOKENIZER_FILE, CONFIG_FILE = "model.safetensors", "tokenizer.json", "config.json"
MODEL_FILES = (WEIGHTS_FILE, TOKENIZER_FILE, CONFIG_FILE)
MAX_MODEL_BYTES = 2 * 1024**3  # a task holds it in memory
_NAMES = ("embeddings", "embedding.weight")
_MAX_TOKENS = 512  # of a text, where config.json says nothing else

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingModel:
    tokenizer: Tokenizer
    vectors: Vectors  # [rows, dimensions], each with its weight
    rows: npt.NDArray[np.int64] | None  # of each token; None: the token's own number
    unknown: int | None
    max_tokens: int  # of a text
    max_characters: int  # to which it is cut before, as the library does that writes the format

    @property
    def dimensions(self) -> int:
        return int(self.vectors.shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[texts, dimensions], of length 1; 0 for a text without a token that the model knows."""
        begins = [text[: self.max_characters] for text in texts]
        encoded = self.tokenizer.encode_batch_fast(begins, add_special_tokens=False)
        means = np.zeros((len(texts), self.vectors.shape[1]), dtype=np.float32)
        for number, encoding in enumerate(encoded):
            ids = np.array(encoding.ids[: self.max_tokens], dtype=np.int64)
            ids = ids if self.unknown is None else ids[ids != self.unknown]
            if len(ids):
                means[number] = self.vectors[ids if self.rows is None else self.rows[ids]].mean(axis=0)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means /= np.where(lengths > 0, lengths, 1)
        return means


def load_embedding_model(store: ObjectStore) -> EmbeddingModel:
    """From the folder that the store is at. Raises DatasetError, and StoreErrors."""
    contents = {}
    for name in MODEL_FILES:
        try:
            if store.stat(name).size > MAX_MODEL_BYTES:
                raise _refused(store, f"{name} has more than {MAX_MODEL_BYTES} bytes")
            contents[name] = store.read(name)
        except NotFound as error:
            raise _refused(store, f"has no {name}") from error
    try:
        tokenizer = Tokenizer.from_buffer(contents[TOKENIZER_FILE])
        config = json.loads(contents[CONFIG_FILE])
        tensors = load(contents[WEIGHTS_FILE])
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise _refused(store, f"cannot be read: {error}") from error
    return _model(store, tokenizer, config, tensors)


def _model(
    store: ObjectStore, tokenizer: Tokenizer, config: Any, tensors: dict[str, npt.NDArray[Any]]
) -> EmbeddingModel:
    vectors = next((tensors[name] for name in _NAMES if name in tensors), None)
    if vectors is None or vectors.ndim != 2:
        raise _refused(
            store, f"{WEIGHTS_FILE} has no tensor [tokens, dimensions] of name {' or '.join(_NAMES)}"
        )
    tokens, mapping, weights = tokenizer.get_vocab_size(), tensors.get("mapping"), tensors.get("weights")
    if (len(vectors) if mapping is None else len(mapping)) < tokens:
        raise _refused(store, f"{len(vectors)} vectors, but {TOKENIZER_FILE} has {tokens} tokens")
    vectors = vectors.astype(np.float32)
    rows = None if mapping is None else mapping.astype(np.int64)
    if weights is not None:  # of a token, also where several share a vector
        vectors = (vectors if rows is None else vectors[rows]) * weights.astype(np.float32)[:, None]
        rows = None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown = getattr(tokenizer.model, "unk_token", None)
    given = config.get("max_length") if isinstance(config, dict) else None
    limit = given if isinstance(given, int) and given > 0 else _MAX_TOKENS
    return EmbeddingModel(
        tokenizer=tokenizer,
        vectors=vectors,
        rows=rows,
        unknown=tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None,
        max_tokens=limit,
        max_characters=limit * int(np.median([len(token) for token in tokenizer.get_vocab()])),
    )


def _refused(store: ObjectStore, why: str) -> DatasetError:
    return DatasetError(
        f"deduplicateSemantic.model.uri: {store.uri}: {why}: name the folder of a static embedding model, as "
        "Model2Vec writes it",
        reasons.INVALID_RUN_CONFIG,
    )
