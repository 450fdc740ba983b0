"""Stages that judge whether a document is prose: the published rules of Gopher, C4 and FineWeb. Pure.

Each rule that drops has its own reason; the value that broke it is the detail.
"""

import re
from collections import Counter
from dataclasses import replace
from functools import lru_cache

from deepseek_workloads.contract.pipeline import C4Quality, FineWebQuality, GopherQuality
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped, Outcome, RecordStage
from deepseek_workloads.data.prepare.stages.words import lines_of, share, words_of

_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})  # Gopher's, of English
_BULLETS = ("•", "‣", "◦", "▪", "-", "*", "–", "·")
_ELLIPSES = ("...", "…")
_TERMINAL = (".", "!", "?", '"', "'", "”", "’", "。", "！", "？", "」", "』", "؟", "।", "…")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$|[\"'”’)])|[。！？]+")
_BOILERPLATE = re.compile(
    r"javascript|terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies",
    re.IGNORECASE,
)


def gopher_quality(settings: GopherQuality) -> RecordStage:
    def judge(document: Document) -> Outcome:
        words, lines = words_of(document.text), lines_of(document.text)
        for value, low, high, reason in (
            (len(words), settings.min_words, settings.max_words, "wordCount"),
            *_of_words(settings, document, words),
            *_of_lines(settings, lines),
        ):
            if not low <= value <= high:
                return Dropped(reason, f"{value:.4g}")
        return document

    return judge


def _of_words(
    settings: GopherQuality, document: Document, words: list[str]
) -> list[tuple[float, float, float, str]]:
    """The rules about words. Those of English spelling are not asked of scripts without spaces."""
    text = document.text
    symbols = text.count("#") + text.count("…") + text.count("...")
    rules = [
        (share(symbols, len(words)), 0.0, settings.max_symbol_to_word_ratio, "symbolToWordRatio"),
        (
            share(sum(map(_has_letter, words)), len(words)),
            settings.min_alphabetic_word_share,
            1.0,
            "alphabeticWordShare",
        ),
    ]
    if not text.isascii() and share(sum(map(_is_spaceless, words)), len(words)) > 0.5:
        return rules  # Chinese, Japanese, Thai: every character is a word
    mean_length = share(sum(map(len, words)), len(words))
    rules.append(
        (mean_length, settings.min_mean_word_length, settings.max_mean_word_length, "meanWordLength")
    )
    if document.language in ("", "en"):
        found = _STOP_WORDS.intersection(map(str.casefold, words))
        rules.append((len(found), settings.min_stop_words, len(_STOP_WORDS), "stopWords"))
    return rules


@lru_cache(maxsize=65_536)
def _has_letter(word: str) -> bool:
    return any(map(str.isalpha, word))


def _is_spaceless(word: str) -> bool:
    return len(word) == 1 and not word.isascii()


def _of_lines(settings: GopherQuality, lines: list[str]) -> list[tuple[float, float, float, str]]:
    bullets = share(sum(line.startswith(_BULLETS) for line in lines), len(lines))
    ellipses = share(sum(line.endswith(_ELLIPSES) for line in lines), len(lines))
    return [
        (bullets, 0.0, settings.max_bullet_line_share, "bulletLineShare"),
        (ellipses, 0.0, settings.max_ellipsis_line_share, "ellipsisLineShare"),
    ]


def c4_quality(settings: C4Quality) -> RecordStage:
    def judge(document: Document) -> Outcome:
        if settings.drop_lorem_ipsum and "lorem ipsum" in document.text.casefold():
            return Dropped("loremIpsum")
        if settings.drop_curly_brackets and "{" in document.text:
            return Dropped("curlyBracket")
        kept = [line for line in document.text.split("\n") if not line.strip() or _is_prose(settings, line)]
        text = "\n".join(kept).strip("\n")
        sentences = len(_SENTENCE_END.findall(text))
        if sentences < settings.min_sentences:
            return Dropped("sentences", str(sentences))
        return replace(document, text=text) if len(kept) < document.text.count("\n") + 1 else document

    return judge


def _is_prose(settings: C4Quality, line: str) -> bool:
    if settings.require_terminal_punctuation and not line.rstrip().endswith(_TERMINAL):
        return False
    if settings.remove_boilerplate_lines and _BOILERPLATE.search(line):
        return False
    return len(words_of(line)) >= settings.min_words_per_line


def fine_web_quality(settings: FineWebQuality) -> RecordStage:
    def judge(document: Document) -> Outcome:
        lines = lines_of(document.text)
        punctuated = share(sum(line.endswith(_TERMINAL) for line in lines), len(lines))
        if punctuated < settings.min_punctuated_line_share:
            return Dropped("punctuatedLineShare", f"{punctuated:.4g}")
        short = share(sum(len(line) <= settings.short_line_characters for line in lines), len(lines))
        if short > settings.max_short_line_share:
            return Dropped("shortLineShare", f"{short:.4g}")
        repeated = _duplicate_line_share(lines)
        if repeated > settings.max_duplicate_line_character_share:
            return Dropped("duplicateLineCharacterShare", f"{repeated:.4g}")
        return document

    return judge


def _duplicate_line_share(lines: list[str]) -> float:
    """Characters of lines that occurred before, of all characters."""
    counts = Counter(lines)
    repeated = sum((count - 1) * len(line) for line, count in counts.items())
    return share(repeated, sum(map(len, lines)))
