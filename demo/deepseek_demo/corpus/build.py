"""Makes the corpus once per version of its packages and of the code that strips them, and keeps it on disk.

It knows packages, collections and the cache; nothing about where the objects are uploaded.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deepseek_demo.corpus import chat, html_text, sources
from deepseek_demo.corpus.packages import Package, candidates, fetch, members
from deepseek_demo.corpus.sources import COLLECTIONS, Document, documents, objects

_COMPLETE = "corpus.json"  # written last: a directory without it is not a corpus


@dataclass(frozen=True)
class Corpus:
    """Raw objects as files below `directory`; sizes in bytes of text by language, markup stripped."""

    directory: Path
    digest: str
    bytes_by_language: dict[str, int]

    def objects(self) -> Iterator[tuple[str, Path]]:
        """(key, file) in the order of the keys."""
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and path.name != _COMPLETE:
                yield str(path.relative_to(self.directory)), path


def build_corpus(cache: Path, *, say: Callable[[str], None] = lambda _: None) -> Corpus:
    """The corpus below `cache`, made unless it is there. The same packages give the same bytes.

    `say` hears what is being done. Raises StepFailed where apt cannot provide the packages.
    """
    log = cache / "corpus.log"
    names = sorted({collection.package for collection in COLLECTIONS})
    packages = candidates(names, log=log)
    digest = _digest(packages)
    if (found := _read(cache / digest)) is not None:
        return found
    files = {}
    for package in packages:
        say(f"fetching {package.file_name}")
        files[package.name] = fetch(package, directory=cache / "packages", log=log)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        sizes = _write(Path(work), files, say=say)
        (Path(work) / _COMPLETE).write_text(json.dumps({"digest": digest, "bytesByLanguage": sizes}))
        shutil.rmtree(cache / digest, ignore_errors=True)
        shutil.copytree(work, cache / digest)
    return Corpus(cache / digest, digest, sizes)


def _write(directory: Path, files: dict[str, Path], *, say: Callable[[str], None]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    pages: list[Document] = []
    for collection in COLLECTIONS:
        say(f"stripping {collection.package} ({collection.language})")
        found = list(documents(collection, members(files[collection.package])))
        size = sum(len(document.text.encode()) for document in found)
        sizes[collection.language] = sizes.get(collection.language, 0) + size
        for key, content in objects(collection, found):
            _put(directory / key, content)
        pages += found
    _put(directory / chat.KEY, chat.conversations(pages))
    return sizes


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read(directory: Path) -> Corpus | None:
    try:
        record = json.loads((directory / _COMPLETE).read_text())
    except FileNotFoundError:
        return None
    return Corpus(directory, record["digest"], record["bytesByLanguage"])


def _digest(packages: list[Package]) -> str:
    """Over the packages and the code that turns them into objects."""
    digest = hashlib.sha256()
    for package in packages:
        digest.update(f"{package.file_name} {package.sha256}\n".encode())
    for module in (chat, html_text, sources):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]
