"""How near texts come to those that were wanted. Pure."""

from collections import Counter
from collections.abc import Sequence

_HAN = range(0x4E00, 0xA000)


def token_f1(found: Sequence[int], wanted: Sequence[int]) -> float:
    """0 to 1: harmonic mean of precision and recall over the tokens of both, each as often as it occurs
    (Rajpurkar et al. 2016, arXiv:1606.05250, there of words). Two empty ones are equal."""
    if not found or not wanted:
        return float(len(found) == len(wanted))
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def bleu(found: Sequence[str], wanted: Sequence[str]) -> float:
    """0 to 100, of all texts together, as sacrebleu counts it: words by its tokenizer 13a, or zh where the
    wanted texts have Chinese characters."""
    from sacrebleu.metrics.bleu import BLEU  # brings lxml and more: for those who ask only

    chinese = any(ord(character) in _HAN for text in wanted for character in text)
    score: float = BLEU(tokenize="zh" if chinese else "13a").corpus_score(found, [wanted]).score
    return score
