"""Writes token shards: whole documents one after another, with a checksum for every chunk."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.data.images import PlacedImage
from deepseek_workloads.data.loss_mask import with_mask
from deepseek_workloads.data.prepare.image_column import write_images
from deepseek_workloads.store.interface import ObjectStore

CHUNK_TOKENS = 512 * 1024

TokenDtype = Literal["uint16", "uint32"]


def token_dtype(vocab_size: int) -> TokenDtype:
    """The smallest that holds ids 0..vocab_size-1."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


class ShardWriter:
    """Ends a shard at the document that fills it. `shards` and `counts` are whole after `close`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        prefix: str,
        dtype: TokenDtype,
        shard_tokens: int,
        vocab_size: int,
        loss_mask: bool = False,
        image_token_id: int | None = None,
    ) -> None:
        """`loss_mask`: every document comes with one; `dtype` must be uint32 then. `image_token_id`: of
        documents with images; what only stands for one is not counted."""
        self._store = store
        self._prefix = prefix
        self._dtype: TokenDtype = dtype
        self.loss_mask = loss_mask
        self._masks: list[npt.NDArray[np.bool_]] = []
        self._images: list[PlacedImage] = []
        self._image_token_id = image_token_id
        self._shard_tokens = shard_tokens
        self._documents: list[npt.NDArray[np.uint32]] = []
        self._tokens = 0
        self.shards: list[Shard] = []
        self.counts = np.zeros(vocab_size, dtype=np.uint64)

    def add(
        self,
        ids: npt.NDArray[np.uint32],
        predicted: npt.NDArray[np.bool_] | None = None,
        images: Sequence[PlacedImage] = (),
    ) -> None:
        """One document, its EOS id included; `column` of its images is their place in it."""
        self._images += [PlacedImage(self._tokens + image.column, image.content) for image in images]
        self._documents.append(ids)
        if predicted is not None:
            self._masks.append(predicted)
        self._tokens += len(ids)
        if self._tokens >= self._shard_tokens:
            self.close()

    def close(self) -> None:
        """Writes what is collected; without documents there is nothing to write."""
        if not self._documents:
            return
        tokens = np.concatenate(self._documents)
        counts = np.bincount(tokens, minlength=len(self.counts)).astype(np.uint64)
        if self._image_token_id is not None:
            counts[self._image_token_id] = 0
        self.counts += counts
        starts = np.cumsum([0, *(len(ids) for ids in self._documents[:-1])], dtype="<u8")
        if self.loss_mask:
            tokens = with_mask(tokens, np.concatenate(self._masks))
        key = f"{self._prefix}-{len(self.shards):03d}"
        self.shards.append(self._write(key, tokens.astype(np.dtype(self._dtype).newbyteorder("<")), starts))
        self._documents, self._masks, self._images, self._tokens = [], [], [], 0

    def _write(
        self, key: str, tokens: npt.NDArray[np.unsignedinteger], starts: npt.NDArray[np.uint64]
    ) -> Shard:
        content, offsets = tokens.tobytes(), starts.tobytes()
        self._store.put(f"{key}.bin", content)
        self._store.put(f"{key}.offsets", offsets)
        return Shard(
            key=f"{key}.bin",
            dtype=self._dtype,
            tokens=len(tokens),
            documents=len(starts),
            size=len(content),
            chunk_tokens=CHUNK_TOKENS,
            chunk_checksums=chunk_checksums(content, chunk_bytes=CHUNK_TOKENS * tokens.itemsize),
            document_offsets_key=f"{key}.offsets",
            document_offsets_checksum=object_checksum(offsets),
            loss_mask=self.loss_mask,
            images=write_images(self._store, key, self._images) if self._images else None,
        )


def chunk_checksums(content: bytes, *, chunk_bytes: int) -> list[str]:
    view = memoryview(content)
    return [chunk_checksum(view[at : at + chunk_bytes]) for at in range(0, len(content), chunk_bytes)]
