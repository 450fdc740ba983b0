"""Conversations: messages in a record, and the token ids of their text with the answers marked.

It does not know files or windows.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from deepseek_workloads.data.chat_template import ChatTemplate

ROLES: Final = ("system", "user", "assistant", "tool")
ANSWERS: Final = "assistant"
Message = Mapping[str, str]
Ids = npt.NDArray[np.uint32]


class ConversationRefused(ValueError):
    """These messages cannot become training text; the message says why and what to do."""


@dataclass(frozen=True)
class Conversation:
    """`ids` end with the end of text; `predicted` marks what the model is to say."""

    ids: Ids
    predicted: npt.NDArray[np.bool_]
    text_bytes: int  # of UTF-8, without special tokens
    predicted_bytes: int  # of answers


def read_messages(record: Mapping[str, Any]) -> list[Message]:
    """The messages of a record: role and content only. Raises ConversationRefused."""
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ConversationRefused("field 'messages' must be a list of {role, content}, and not empty")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise ConversationRefused(f"messages[{number}]: must be an object whose content is a string")
        if message.get("role") not in ROLES:
            raise ConversationRefused(
                f"messages[{number}].role: {message.get('role')!r}: must be one of {', '.join(ROLES)}"
            )
    if not any(message["role"] == ANSWERS and message["content"].strip() for message in messages):
        raise ConversationRefused(f"messages: no {ANSWERS} says anything: there is nothing to learn")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def to_document(messages: Sequence[Message]) -> str:
    """One text for equal messages: what is hashed, and kept between stages."""
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


def from_document(document: str) -> list[Message]:
    return cast("list[Message]", json.loads(document))


class ConversationEncoder:
    """Encodes as a server does: what stands before an answer is the prompt that a client's messages give."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        eos_token_id: int,
        allowed: Collection[str] = (),
    ) -> None:
        """`tokenizer` reads special tokens in text, as templates write them; messages may hold `allowed`
        ones."""
        self._tokenizer, self._template, self._eos = tokenizer, template, eos_token_id
        marks = [
            token.content
            for number, token in tokenizer.get_added_tokens_decoder().items()
            if token.special or number == eos_token_id or token.content in allowed
        ]
        self._special = [mark for mark in marks if mark not in allowed]
        longest_first = sorted(marks, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def encode(self, messages: Sequence[Message]) -> Conversation:
        """Raises ConversationRefused, and the template's TemplateError."""
        self.require_plain(messages)
        texts, answers = zip(*self._segments(messages), strict=True)
        encoded = [
            np.array(encoding.ids, dtype=np.uint32)
            for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]
        marks = [np.full(len(ids), answer) for ids, answer in zip(encoded, answers, strict=True)]
        if not len(encoded[-1]) or encoded[-1][-1] != self._eos:  # a document ends so, whatever its template
            encoded.append(np.array([self._eos], dtype=np.uint32))
            marks.append(np.array([answers[-1]]))
        sizes = [self.text_bytes(text) for text in texts]
        return Conversation(
            ids=np.concatenate(encoded),
            predicted=np.concatenate(marks),
            text_bytes=sum(sizes),
            predicted_bytes=sum(size for size, answer in zip(sizes, answers, strict=True) if answer),
        )

    def _segments(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """(text, whether it is an answer) whose texts joined are the template's text."""
        segments: list[tuple[str, bool]] = []
        done = ""
        for number, message in enumerate(messages):
            if message["role"] != ANSWERS:
                continue
            prompt = self._template.render(messages[:number])
            whole = self._template.render(messages[: number + 1], add_generation_prompt=False)
            if not prompt.startswith(done) or not whole.startswith(prompt):
                raise ConversationRefused(
                    f"messages[{number}]: with its answer the chat template writes otherwise what stands "
                    "before it: use a template that only appends"
                )
            segments += [(prompt[len(done) :], False), (whole[len(prompt) :], True)]
            done = whole
        text = self._template.render(messages, add_generation_prompt=False)
        if text.startswith(done) and len(text) > len(done):
            segments.append((text[len(done) :], False))
        return segments

    def text_bytes(self, text: str) -> int:
        """Of UTF-8, without special tokens: an end of text is no text, nor is a placeholder of an image."""
        return len(self._marks.sub("", text).encode())

    def require_plain(self, messages: Sequence[Message]) -> None:
        """Raises ConversationRefused where a message holds a special token."""
        for number, message in enumerate(messages):
            found = next((token for token in self._special if token in message["content"]), None)
            if found is not None:
                raise ConversationRefused(
                    f"messages[{number}].content: holds the special token {found!r}, which would end or "
                    "begin a message: remove it"
                )
