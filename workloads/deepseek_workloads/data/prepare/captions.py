"""Captions in objects of their own, each beside its image of the same name: cat/1.txt and cat/1.jpg."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.part_images import Decoded
from deepseek_workloads.data.prepare.raw import is_caption
from deepseek_workloads.data.prepare.reading import BadRecord, ToText, decode_text
from deepseek_workloads.data.prepare.records import RawSlice
from deepseek_workloads.store.interface import NotFound, ObjectStore

IMAGES: Final = (".jpg", ".jpeg", ".png", ".webp")  # the first that is there


def split_captions(source: RawSource, slices: Sequence[RawSlice]) -> tuple[list[RawSlice], list[RawSlice]]:
    """(lines, captions)"""
    captions = [piece for piece in slices if is_caption(source, piece.key)]
    return [piece for piece in slices if not is_caption(source, piece.key)], captions


def captioned(
    store: ObjectStore,
    source: RawSource,
    contents: Iterable[tuple[RawSlice, bytes | BadRecord]],
    *,
    to_text: ToText,
) -> Iterator[Decoded]:
    """A record of each caption and its image; a caption without one is a bad record. Raises StoreErrors."""
    for piece, content in contents:
        if isinstance(content, BadRecord):
            yield Decoded(content.content, content)
            continue
        caption = decode_text(content, key=piece.key)
        found = caption if isinstance(caption, BadRecord) else _record(store, source, piece, caption, to_text)
        yield Decoded(content, found, key=piece.key)


def _record(
    store: ObjectStore, source: RawSource, piece: RawSlice, caption: Document, to_text: ToText
) -> Document | BadRecord:
    content = caption.text.encode()
    image = _image_beside(store, piece.key)
    if image is None:
        names = ", ".join(IMAGES)
        return BadRecord(piece.key, 0, f"no image of the same name beside it ({names})", content)
    try:
        record = {source.text_field: caption.text.strip(), "images": [image]}
        return Document(to_text(record, source))
    except ValueError as error:
        return BadRecord(piece.key, 0, str(error), content)


def _image_beside(store: ObjectStore, key: str) -> str | None:
    stem = key.rpartition(".")[0]
    for extension in IMAGES:
        try:
            store.stat(f"{stem}{extension}")
        except NotFound:
            continue
        return f"{stem}{extension}"
    return None
