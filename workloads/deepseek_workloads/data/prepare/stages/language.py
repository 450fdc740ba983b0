"""The stage identifyLanguage, with the 97 languages of py3langid, whose model is in its package. Pure."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import py3langid.langid
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from deepseek_workloads.contract.pipeline import IdentifyLanguage
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped, Outcome, RecordStage

JUDGED_CHARACTERS = 8192  # of the beginning: more of it changes no verdict and costs time


def identify_language(settings: IdentifyLanguage) -> RecordStage:
    keep = frozenset(settings.keep)

    def identify(document: Document) -> Outcome:
        language, probability = named_language(document.language), 1.0
        if not language:
            found, probability = _identifier().classify(document.text[:JUDGED_CHARACTERS])
            if probability >= settings.min_probability and found != "und":
                language = str(found)
        if keep and language not in keep:
            return Dropped(language or "unknown", f"{probability:.4g}")
        return replace(document, language=language) if language != document.language else document

    return identify


def named_language(name: str) -> str:
    """`en` of `en-US` and `EN_us`; nothing of what is no code, such as `English`."""
    primary = name.replace("_", "-").partition("-")[0].lower()
    return primary if primary.isascii() and primary.isalpha() and len(primary) in (2, 3) else ""


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    """Loaded once a process: it takes a second."""
    model = Path(py3langid.langid.__file__).parent / MODEL_FILE
    return LanguageIdentifier.from_model_file(model, norm_probs=True)
