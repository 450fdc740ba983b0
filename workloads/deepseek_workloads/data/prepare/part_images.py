"""The images of one part: fetched, made patches, each distinct one kept once.

A record one of whose images cannot be used is a bad record.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.contract.run_config import ImageAugmentation, ImageSettings, RawSource
from deepseek_workloads.data.image_text import ImageText, read_image_text
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.patches import AS_IT_IS, MAX_IMAGE_BYTES, ImageRefused, View, to_patches
from deepseek_workloads.data.prepare.reading import BadRecord
from deepseek_workloads.data.prepare.stage import READ
from deepseek_workloads.store.interface import NotFound, ObjectStore

RECORDS_TOGETHER = 64  # whose images are asked for at once
_THREADS = 8


@dataclass(frozen=True)
class Decoded:
    """A line, and what it says: its images are keys."""

    line: bytes
    document: Document | BadRecord
    key: str = ""  # of the object that the line is in, and its place there
    offset: int = 0


class PartImages:
    """By digest, in the order in which they came."""

    def __init__(self, settings: ImageSettings, augmentation: ImageAugmentation | None = None) -> None:
        self._settings = settings
        self._augmentation = augmentation
        self._contents: dict[str, bytes] = {}

    @property
    def digests(self) -> list[str]:
        return list(self._contents)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._contents) * self._settings.image_bytes

    def put(self, context: Context, store: ObjectStore, *, number: int) -> FileEntry | None:
        """`number`: of the part."""
        if not self._contents:
            return None
        key = context.key(f"documents/{READ}/{number:05d}.images")
        return put_file(store, key, b"".join(self._contents.values()))

    def text_of(self, record: dict[str, Any], source: RawSource) -> str:
        """Words and the keys of images, of one line. Raises ValueError."""
        token = self._settings.image_token
        return read_image_text(record, text_field=source.text_field, image_token=token).to_document()

    def with_patches(self, store: ObjectStore, records: Iterator[Decoded]) -> Iterator[Document | BadRecord]:
        """In their order; the documents' images are digests. Raises StoreErrors, but for missing images."""
        while group := list(islice(records, RECORDS_TOGETHER)):
            yield from self._fetched(store, group)

    def _fetched(self, store: ObjectStore, records: Sequence[Decoded]) -> Iterator[Document | BadRecord]:
        texts = [
            ImageText.from_document(record.document.text) if isinstance(record.document, Document) else None
            for record in records
        ]
        keys = list(dict.fromkeys(key for text in texts if text is not None for key in text.images))
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(keys, pool.map(lambda key: self._read(store, key), keys), strict=True))
        for record, text in zip(records, texts, strict=True):
            if isinstance(record.document, BadRecord) or text is None:
                yield record.document
                continue
            views = [found[key] for key in text.images]
            problem = next((each for each in views if isinstance(each, str)), None)
            if problem is not None:
                yield BadRecord(record.key, record.offset, problem, record.line)
                continue
            yield self._document(text, [each for each in views if not isinstance(each, str)], record.document)

    def _document(self, text: ImageText, views: Sequence[Sequence[bytes]], record: Document) -> Document:
        """`views`: of each of its images the patches as it is, then those of each copy."""
        copies = self._augmentation.copies if self._augmentation and views else 0
        texts = [
            replace(text, images=[self._keep(of_image[copy]) for of_image in views]).to_document()
            for copy in range(1 + copies)
        ]
        return replace(record, text=texts[0], copies=tuple(texts[1:]))

    def _read(self, store: ObjectStore, key: str) -> list[bytes] | str:
        """Patches as it is and of each copy, or why there are none."""
        try:
            size = store.stat(key).size
            if size > MAX_IMAGE_BYTES:
                return f"image {key}: {size} bytes: more than {MAX_IMAGE_BYTES}: scale it down before"
            content = store.read(key)
            views = [AS_IT_IS, *views_of(key, self._augmentation)]
            return [to_patches(content, self._settings, view=view) for view in views]
        except NotFound:
            return f"image {key}: does not exist below the source's uri"
        except ImageRefused as error:
            return f"image {key}: {error}"

    def _keep(self, content: bytes) -> str:
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        self._contents.setdefault(digest, content)
        return digest


def views_of(key: str, augmentation: ImageAugmentation | None) -> list[View]:
    """One for each copy: by chance, but always the same of the same image and seed."""
    if augmentation is None:
        return []
    generator = random.Random(f"{augmentation.seed} {key}")  # noqa: S311  not for secrets
    most = augmentation.max_rotation_degrees
    return [
        View(
            degrees=generator.uniform(-most, most),
            share=generator.uniform(augmentation.min_crop_share, 1),
            left=generator.random(),
            top=generator.random(),
        )
        for _ in range(augmentation.copies)
    ]
