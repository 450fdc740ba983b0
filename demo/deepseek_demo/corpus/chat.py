"""Conversations made from documentation: a heading is asked about, the paragraph below it answers. Pure.

They are what a dataset of format chat is prepared from.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from deepseek_demo.corpus.sources import Document

KEY = "chat/00000.jsonl"
_QUESTIONS = {"en": "What do you know about {}?", "zh": "请介绍一下“{}”。"}
_HEADING = re.compile(r"[^\n.:;,!?。：；，！？()=<>\[\]{}]{3,48}")
_ANSWER_CHARACTERS = (60, 400)
_SENTENCE_ENDS = (".", "。", "!", "！")


def conversations(documents: Iterable[Document]) -> bytes:
    """JSON lines ({"id", "messages", "language"}), one question and its answer a line."""
    lines = []
    for document in documents:
        for number, (question, answer) in enumerate(_pairs(document)):
            record = {
                "id": f"{document.id}#{number}",
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ],
                "language": document.language,
            }
            lines.append(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    return b"".join(lines)


def _pairs(document: Document) -> Iterator[tuple[str, str]]:
    blocks = document.text.split("\n\n")
    shortest, longest = _ANSWER_CHARACTERS
    for heading, paragraph in pairwise(blocks):
        is_answer = shortest <= len(paragraph) <= longest and paragraph.endswith(_SENTENCE_ENDS)
        if is_answer and _HEADING.fullmatch(heading):
            yield _QUESTIONS[document.language].format(heading.strip()), paragraph
