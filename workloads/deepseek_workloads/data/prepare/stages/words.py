"""How a text is cut into words and lines, for every rule that counts them. Pure.

Scripts that are written without spaces (Han, Kana, Thai, Lao, Khmer, Burmese)
count each character as a word, so that rules written for English do not drop Chinese whole.
"""

import re
import unicodedata
from functools import lru_cache

_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
SPACELESS = f"{_SPACELESS}\U00020000-\U0003ffff"  # for the inside of a pattern's brackets
_WORD = re.compile(rf"[{SPACELESS}]|[^\s{SPACELESS}]+")
_TOKEN = re.compile(rf"[^\W{SPACELESS}]+|\S")
_SPACELESS_CHARACTER = re.compile(rf"[{SPACELESS}]")
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")


def words_of(text: str) -> list[str]:
    """Runs without white space; punctuation stays at its word."""
    return text.split() if text.isascii() else _WORD.findall(text)


def tokens_of(text: str) -> list[str]:
    """Words without punctuation, and each other character that is no white space."""
    return _TOKEN.findall(text)


def is_spaceless(character: str) -> bool:
    """Whether its script is written without spaces."""
    return _SPACELESS_CHARACTER.fullmatch(character) is not None


def word_starts(text: str) -> list[int]:
    """Where each of words_of begins."""
    return [match.start() for match in _WORD.finditer(text)]


def lines_of(text: str) -> list[str]:
    """Lines that hold something, without the white space around them."""
    return [line for line in map(str.strip, text.split("\n")) if line]


def paragraphs_of(text: str) -> list[str]:
    return [part.strip() for part in _PARAGRAPH_END.split(text) if part.strip()]


def comparable_words(text: str) -> list[str]:
    """As texts are compared for being nearly the same: NFKC, case-folded, without punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word for word in map(_without_punctuation, words_of(folded)) if word]


def share(part: float, whole: float) -> float:
    """0 of nothing."""
    return part / whole if whole else 0.0


@lru_cache(maxsize=65_536)
def _without_punctuation(word: str) -> str:
    return word if word.isalnum() else "".join(filter(_is_word_character, word))


def _is_word_character(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
