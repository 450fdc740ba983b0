"""Stages that drop what is too short, too long, or no text at all. Pure."""

import unicodedata
from collections import Counter

from deepseek_workloads.contract.pipeline import FilterGarbled, FilterLength
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped, Outcome, RecordStage
from deepseek_workloads.data.prepare.stages.words import share, words_of


def filter_length(settings: FilterLength) -> RecordStage:
    count_words = settings.min_words > 0 or settings.max_words is not None

    def judge(document: Document) -> Outcome:
        characters = len(document.text)
        if not _within(characters, settings.min_characters, settings.max_characters):
            return Dropped("characterCount", str(characters))
        words = len(words_of(document.text)) if count_words else 0
        if count_words and not _within(words, settings.min_words, settings.max_words):
            return Dropped("wordCount", str(words))
        return document

    return judge


def filter_garbled(settings: FilterGarbled) -> RecordStage:
    def judge(document: Document) -> Outcome:
        kinds = _kinds(document.text)
        visible = sum(kinds.values()) - kinds["space"]
        replaced = share(kinds["unusable"], visible)
        if replaced > settings.max_replacement_share:
            return Dropped("replacementShare", f"{replaced:.4g}")
        control = share(kinds["control"], visible)
        if control > settings.max_control_share:
            return Dropped("controlShare", f"{control:.4g}")
        letters = share(kinds["letter"], visible)
        if letters < settings.min_letter_share:
            return Dropped("letterShare", f"{letters:.4g}")
        return document

    return judge


def _within(value: int, low: int, high: int | None) -> bool:
    return value >= low and (high is None or value <= high)


def _kinds(text: str) -> Counter[str]:
    """Characters by kind; each distinct one is looked up once."""
    kinds: Counter[str] = Counter()
    for character, count in Counter(text).items():
        kinds[_kind(character)] += count
    return kinds


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    category = unicodedata.category(character)
    if character == "\ufffd" or category in ("Co", "Cn", "Cs"):
        return "unusable"
    if category == "Cc":
        return "control"
    return "letter" if category[0] in "LMN" else "other"
