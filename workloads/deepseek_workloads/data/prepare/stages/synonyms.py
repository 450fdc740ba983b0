"""The stage replaceSynonyms: copies of a document with some words replaced, marked as such. Pure.

Which words are replaced is a function of the text, the seed and the number of the copy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from deepseek_workloads.contract.augmentation import ReplaceSynonyms
from deepseek_workloads.data.prepare.documents import Document, content_hash
from deepseek_workloads.data.prepare.stages.contract import RecordStage

_WORD = re.compile(r"\w+")


def replace_synonyms(settings: ReplaceSynonyms) -> RecordStage:
    lexicon = {entry.word.casefold(): entry.synonyms for entry in settings.lexicon}

    def with_copies(document: Document) -> list[Document]:
        if document.made_from is not None:
            return [document]  # copies are made of originals
        high, low = content_hash(document.text.encode())
        texts = [document.text]
        for number in range(settings.copies):
            seeds = np.random.default_rng([high, low, settings.seed, number])
            texts.append(_replaced(document.text, lexicon, seeds, rate=settings.rate))
        copies = dict.fromkeys(texts[1:])  # equal ones once
        copies.pop(document.text, None)
        return [document, *(replace(document, text=text, made_from=low) for text in copies)]

    return with_copies


def _replaced(
    text: str, lexicon: Mapping[str, Sequence[str]], seeds: np.random.Generator, *, rate: float
) -> str:
    """Of the words that the lexicon has, each with the probability `rate`."""

    def chosen(match: re.Match[str]) -> str:
        synonyms = lexicon.get(match[0].casefold())
        if synonyms is None or seeds.random() >= rate:
            return match[0]
        return written_like(match[0], synonyms[int(seeds.integers(len(synonyms)))])

    return _WORD.sub(chosen, text)


def written_like(word: str, synonym: str) -> str:
    """In capitals, or with a capital, where the word is."""
    if len(word) > 1 and word.isupper():
        return synonym.upper()
    return synonym[0].upper() + synonym[1:] if word[0].isupper() else synonym
