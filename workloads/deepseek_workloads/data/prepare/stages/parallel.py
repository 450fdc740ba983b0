"""The stage filterBleu: pairs of texts, by the BLEU-4 of one side against the other. Pure."""

from functools import lru_cache
from typing import Any

from deepseek_workloads.contract.pipeline import FilterBleu
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped, Outcome, RecordStage
from deepseek_workloads.data.prepare.stages.words import tokens_of


def filter_bleu(settings: FilterBleu) -> RecordStage:
    def judge(document: Document) -> Outcome:
        sides = document.text.split(settings.separator)
        if len(sides) != 2 or not all(map(str.strip, sides)):
            return Dropped("sides", str(len(sides)))
        value = sentence_bleu(sides[1], sides[0])
        if not settings.min_bleu <= value <= settings.max_bleu:
            return Dropped("bleu", f"{value:.4g}")
        return document

    return judge


def sentence_bleu(hypothesis: str, reference: str) -> float:
    """From 0 to 1, of n-grams of up to 4 words and punctuation marks, or characters of scripts without
    spaces; without capitals. A text of fewer than 4 has n-grams of what it has."""
    sides = (" ".join(tokens_of(text.casefold())) for text in (hypothesis, reference))
    found, wanted = sides
    return min(1.0, float(_metric().sentence_score(found, [wanted]).score) / 100)  # 1 may be a little more


@lru_cache(maxsize=1)
def _metric() -> Any:
    """Once a process; it is imported by those who ask only."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", effective_order=True)
