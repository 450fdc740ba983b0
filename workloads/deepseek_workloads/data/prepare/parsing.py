"""Dependency parses of texts by a UDPipe model: one file for a language, with tokenizer, tagger and parser.

UDPipe 1 (ufal.udpipe, MPL-2.0) reads a format of its own, in which there is no code. Models of many
languages, trained on Universal Dependencies, are at lindat.mff.cuni.cz; one can be trained on any CoNLL-U
treebank. The package is optional: an image without it refuses.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.stages.clauses import Word
from deepseek_workloads.store.interface import NotFound, ObjectStore

MAX_MODEL_BYTES = 512 * 1024**2


class CannotParse(Exception):
    """The parser fails with a text."""


@dataclass(frozen=True)
class Parser:
    """Made in the process that uses it (not picklable)."""

    udpipe: Any  # the module
    model: Any

    def sentences(self, text: str) -> Iterator[list[Word]]:
        """Of each sentence its words. Raises CannotParse."""
        error = self.udpipe.ProcessingError()
        tokenizer = self.model.newTokenizer(self.model.TOKENIZER_RANGES)
        tokenizer.setText(text)
        while True:
            sentence = self.udpipe.Sentence()
            if not tokenizer.nextSentence(sentence, error):
                break
            self.model.tag(sentence, self.model.DEFAULT, error)
            self.model.parse(sentence, self.model.DEFAULT, error)
            if error.occurred():
                break
            yield _words(sentence)
        if error.occurred():
            raise CannotParse(error.message)


def load_parser(store: ObjectStore, name: str) -> Parser:
    """Raises DatasetError, and StoreErrors."""
    try:
        from ufal import udpipe  # optional, and of these datasets only
    except ImportError as error:
        raise DatasetError(
            "reorderClauses: this image has no dependency parser: name one in spec.image that has the extra "
            "parser, such as FROM this one with USER 0, RUN pip --python /opt/venv/bin/python install "
            "'ufal.udpipe>=1.4,<2' and USER 1000:1000",
            reasons.INVALID_RUN_CONFIG,
        ) from error
    try:
        size = store.stat(name).size
        content = store.read(name) if size <= MAX_MODEL_BYTES else b""
    except NotFound as error:
        raise _refused(store, name, "there is no such object") from error
    if size > MAX_MODEL_BYTES:
        raise _refused(store, name, f"has more than {MAX_MODEL_BYTES} bytes")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.udpipe")
        path.write_bytes(content)
        model = udpipe.Model.load(str(path))
    if model is None or model.newTokenizer(model.DEFAULT) is None:
        raise _refused(store, name, "is no UDPipe 1 model with a tokenizer")
    return Parser(udpipe, model)


def _words(sentence: Any) -> list[Word]:
    """Words that are written as one (don't, zum) share its characters."""
    written = {
        number: token
        for token in sentence.multiwordTokens
        for number in range(token.idFirst, token.idLast + 1)
    }
    words = []
    for word in list(sentence.words)[1:]:  # the first is the root of the tree
        token = written.get(word.id, word)
        start, end = token.getTokenRangeStart(), token.getTokenRangeEnd()
        words.append(Word(start, end, word.head, word.deprel, word.upostag))
    return words


def _refused(store: ObjectStore, name: str, why: str) -> DatasetError:
    return DatasetError(
        f"reorderClauses.model.uri: {store.uri}/{name}: {why}: name a UDPipe 1 model (.udpipe) of the "
        "documents' language",
        reasons.INVALID_RUN_CONFIG,
    )
