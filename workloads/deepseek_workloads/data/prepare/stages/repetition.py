"""The stage filterRepetition: documents that repeat themselves (Rae et al. 2021, A1.1). Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

from deepseek_workloads.contract.pipeline import FilterRepetition
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped, Outcome, RecordStage
from deepseek_workloads.data.prepare.stages.words import lines_of, paragraphs_of, share, words_of

_TOP_NGRAMS = (2, 3, 4)
# Of 5 to 10 words. A longer n-gram that occurred before is made of shorter ones that did: the share of these
# is never less, and with one limit for all lengths the shortest decides.
_DUPLICATE_NGRAM = 5


def filter_repetition(settings: FilterRepetition) -> RecordStage:
    def judge(document: Document) -> Outcome:
        for value, limit, reason in _measured(document.text, settings):
            if value > limit:
                return Dropped(reason, f"{value:.4g}")
        return document

    return judge


def _measured(text: str, settings: FilterRepetition) -> Iterator[tuple[float, float, str]]:
    """Cheap rules first; what follows a broken one is not computed."""
    yield duplicate_share(lines_of(text)), settings.max_duplicate_line_share, "duplicateLineShare"
    yield (
        duplicate_share(paragraphs_of(text)),
        settings.max_duplicate_paragraph_share,
        "duplicateParagraphShare",
    )
    words = words_of(text)
    bigrams = Counter(_ngrams(words, _TOP_NGRAMS[0]))
    most, longest = max(bigrams.values(), default=0), max(map(len, words), default=0)
    for n in _TOP_NGRAMS:
        # None occurs more often than some bigram of its own: most documents need no second look.
        if share(most * n * longest, sum(map(len, words))) > settings.max_top_ngram_share:
            yield top_ngram_share(words, n=n), settings.max_top_ngram_share, f"top{n}GramShare"
    n = _DUPLICATE_NGRAM
    yield duplicate_ngram_share(words, n=n), settings.max_duplicate_ngram_share, f"duplicate{n}GramShare"


def duplicate_share(items: Sequence[str]) -> float:
    """Of the items, those that occurred before."""
    return share(len(items) - len(set(items)), len(items))


def top_ngram_share(words: Sequence[str], *, n: int) -> float:
    """Of the characters of all words, those that the most frequent n-gram covers; 0 where none occurs twice.
    Occurrences that overlap cover their words once."""
    counts = Counter(_ngrams(words, n))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    often = (ngram for ngram, count in counts.items() if count == most)
    top = max(often, key=lambda ngram: sum(map(len, ngram)))
    starts = [at for at, ngram in enumerate(_ngrams(words, n)) if ngram == top]
    return _covered_share(words, starts, n=n)


def duplicate_ngram_share(words: Sequence[str], *, n: int) -> float:
    """Of the characters of all words, those in an n-gram that occurred before."""
    if len(set(_ngrams(words, n))) > len(words) - n:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    starts = []
    for at, ngram in enumerate(_ngrams(words, n)):
        if ngram in seen:
            starts.append(at)
        seen.add(ngram)
    return _covered_share(words, starts, n=n)


def _ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[at:] for at in range(n)), strict=False)


def _covered_share(words: Sequence[str], starts: Sequence[int], *, n: int) -> float:
    """Of the characters of all words, those of words starts..start+n; each word once."""
    offsets = list(accumulate(map(len, words), initial=0))
    covered = end = 0
    for start in starts:
        covered += offsets[start + n] - offsets[max(start, end)]
        end = start + n
    return share(covered, offsets[-1])
