"""How the clauses of a sentence change places, by its dependency parse. Pure; it does not know the parser.

Relations are those of Universal Dependencies (universaldependencies.org). An adverbial clause (advcl) that
begins with its conjunction and hangs on the sentence's main verb moves from the end to the front, or from the
front to the end: "It stopped because it rained." - "Because it rained, it stopped." Sentences in which such a
move could break something else (quotes, brackets, clauses in the middle) stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from deepseek_workloads.data.prepare.stages.words import is_spaceless

_NOUN_CAPITALS = ("de", "lb")  # languages in which nouns have a capital anywhere
_KEEP_CAPITAL = ("PROPN", "X", "NUM", "SYM")
_COMMAS = ",，、"
_ENDS = ".!?…。！？"


@dataclass(frozen=True)
class Word:
    """One of a sentence, which number from 1."""

    start: int  # its characters in the text
    end: int
    head: int  # number of the word that it hangs on; 0: none
    relation: str  # as advcl, or advcl:relcl
    part_of_speech: str  # universal: NOUN, VERB, ...


@dataclass(frozen=True)
class _Clauses:
    """By indexes of words: first..end (excluded) of each, without punctuation around them."""

    main: tuple[int, int]
    adverbial: tuple[int, int]


def reordered(text: str, words: Sequence[Word], *, language: str) -> str | None:
    """The sentence from its first word to its last with two clauses exchanged; None: it has none that can
    be. `language`: ISO 639-1, or empty."""
    last = len(words)
    while last and _is_among(text, words[last - 1], _ENDS):
        last -= 1
    found = _clauses(text, words[:last])
    if found is None:
        return None
    main, adverbial = (_Span(text, words[a:b], language) for a, b in (found.main, found.adverbial))
    ending = text[words[last - 1].end : words[-1].end]
    spaceless = is_spaceless(main.content[-1])
    if found.main[0] == 0:
        return f"{adverbial.begun}{'，' if spaceless else ', '}{main.continued}{ending}"
    return f"{main.begun}{'，' if spaceless else ' '}{adverbial.continued}{ending}"


def _clauses(text: str, words: Sequence[Word]) -> _Clauses | None:
    roots = [at for at, word in enumerate(words) if word.head == 0]
    if len(roots) != 1 or not _plain(text, words):
        return None
    for at, word in enumerate(words):
        if word.relation.partition(":")[0] != "advcl" or word.head != roots[0] + 1:
            continue
        below = _below(words, at)
        first, end = _without_commas(text, words, below[0], below[-1] + 1)
        if len(below) != below[-1] + 1 - below[0] or words[first].relation not in ("mark", "advmod"):
            continue
        if below[-1] + 1 == len(words) and first > 0:
            main = _without_commas(text, words, 0, first)
        elif below[0] == 0 and end < len(words):
            main = _without_commas(text, words, end, len(words))
        else:
            continue
        if main[0] < main[1] and main[0] <= roots[0] < main[1]:
            return _Clauses(main, (first, end))
    return None


def _below(words: Sequence[Word], top: int) -> list[int]:
    """Indexes of a word and all that hang on it, in order."""
    found, waiting = set[int](), [top]
    while waiting:
        at = waiting.pop()
        if at not in found:  # a parser that errs may make a circle
            found.add(at)
            waiting += [other for other, word in enumerate(words) if word.head == at + 1]
    return sorted(found)


def _without_commas(text: str, words: Sequence[Word], first: int, end: int) -> tuple[int, int]:
    """Of first..end, without commas at both ends."""
    while first < end and _is_among(text, words[first], _COMMAS):
        first += 1
    while first < end and _is_among(text, words[end - 1], _COMMAS):
        end -= 1
    return first, end


def _plain(text: str, words: Sequence[Word]) -> bool:
    """Whether the only punctuation is commas and what is within words."""
    marks = (text[word.start : word.end] for word in words if word.part_of_speech == "PUNCT")
    return all(mark in _COMMAS for mark in marks)


def _is_among(text: str, word: Word, characters: str) -> bool:
    form = text[word.start : word.end]
    return bool(form) and all(character in characters for character in form)


@dataclass(frozen=True)
class _Span:
    text: str
    words: Sequence[Word]
    language: str

    @property
    def content(self) -> str:
        return self.text[self.words[0].start : self.words[-1].end]

    @property
    def begun(self) -> str:
        """As the beginning of a sentence."""
        return self.content[0].upper() + self.content[1:]

    @property
    def continued(self) -> str:
        """As it goes on after another clause."""
        word = self.words[0]
        form = self.text[word.start : word.end]
        kept = (*_KEEP_CAPITAL, *(["NOUN"] if self.language in _NOUN_CAPITALS else []))
        capitals = len(list(takewhile(str.isupper, form)))
        # I, I'm, and acronyms; "A" is one letter, too.
        pronoun = form == "I" or form.startswith(("I'", "I’"))
        if word.part_of_speech in kept or capitals > 1 or pronoun:
            return self.content
        return self.content[0].lower() + self.content[1:]
