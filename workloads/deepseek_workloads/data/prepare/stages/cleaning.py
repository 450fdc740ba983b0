"""Stages that change the text of a document and drop none: encoding, Unicode, length. Pure."""

from dataclasses import replace

from ftfy import TextFixerConfig, fix_text

from deepseek_workloads.contract.pipeline import NormalizeUnicode, RepairEncoding, Truncate
from deepseek_workloads.data.prepare.documents import Document, normalize
from deepseek_workloads.data.prepare.stages.contract import RecordStage

# What was broken is mended; what is only typography (quotes, ligatures, full-width forms) stays, and so does
# HTML's escaping: whether &lt; is markup or text only its author knows.
_REPAIR = TextFixerConfig(
    unescape_html=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    normalization=None,
    explain=False,
)
_PLAIN_CONTROLS = str.maketrans(dict.fromkeys(["\t", "\n"], " "))


def repair_encoding(_settings: RepairEncoding) -> RecordStage:
    def repair(document: Document) -> Document:
        text = document.text
        if text.isascii() and text.translate(_PLAIN_CONTROLS).isprintable():
            return document  # nothing to mend, and most of English is this
        return replace(document, text=fix_text(text, _REPAIR))

    return repair


def normalize_unicode(settings: NormalizeUnicode) -> RecordStage:
    def normalized(document: Document) -> Document:
        return replace(document, text=normalize(document.text, settings.form))

    return normalized


def truncate(settings: Truncate) -> RecordStage:
    """Characters, not tokens: the tokenizer may not exist yet."""
    limit = settings.max_characters

    def cut(document: Document) -> Document | list[Document]:
        text = document.text
        if len(text) <= limit:
            return document
        match settings.policy:
            case "head":
                return replace(document, text=text[:limit])
            case "tail":
                return replace(document, text=text[len(text) - limit :])
            case "split":
                starts = range(0, len(text), limit)
                return [replace(document, text=text[start : start + limit]) for start in starts]
            case "headAndTail":
                head = round(limit * settings.head_share)
                return replace(document, text=text[:head] + text[len(text) - (limit - head) :])

    return cut
