"""The stage annotateEntities: a text becomes its words, one a line, each with a BIO tag. Pure.

B-X begins an entity of type X, I-X goes on with it, O is outside (Ramshaw and Marcus 1995, cmp-lg/9505040).
Entities are the phrases of a list, the longest first; a line of the text ends with an empty line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deepseek_workloads.contract.pipeline import AnnotateEntities
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import RecordStage
from deepseek_workloads.data.prepare.stages.words import lines_of, tokens_of

Phrases = Mapping[tuple[str, ...], str]  # their types


def annotate_entities(settings: AnnotateEntities) -> RecordStage:
    fold = str if settings.case_sensitive else str.casefold
    phrases = {
        tuple(tokens_of(fold(phrase))): each.type for each in settings.entities for phrase in each.phrases
    }

    def annotate(document: Document) -> Document:
        lines = []
        for tokens in map(tokens_of, lines_of(document.text)):
            tags = bio_tags([fold(token) for token in tokens], phrases)
            lines.append("\n".join(f"{token} {tag}" for token, tag in zip(tokens, tags, strict=True)))
        return replace(document, text="\n\n".join(lines))

    return annotate


def bio_tags(tokens: Sequence[str], phrases: Phrases) -> list[str]:
    """From left to right, of the phrases that begin at a token the longest."""
    longest = max(map(len, phrases), default=0)
    tags: list[str] = []
    while len(tags) < len(tokens):
        at = len(tags)
        for length in range(min(longest, len(tokens) - at), 0, -1):
            entity = phrases.get(tuple(tokens[at : at + length]))
            if entity is not None:
                tags += [f"B-{entity}", *[f"I-{entity}"] * (length - 1)]
                break
        else:
            tags.append("O")
    return tags
