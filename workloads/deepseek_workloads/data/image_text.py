"""Texts and conversations with images: a record's words and the images that stand in them, as one line of
token ids in which an image is as many placeholder tokens as it has patches.

It does not know pixels, files or windows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from tokenizers import Tokenizer

from deepseek_workloads.contract.keys import RelativeKey
from deepseek_workloads.data.chat import (
    Conversation,
    ConversationEncoder,
    ConversationRefused,
    Message,
    read_messages,
)

_KEYS: TypeAdapter[list[str]] = TypeAdapter(list[RelativeKey])
_USER = "user"


@dataclass(frozen=True)
class ImageText:
    """Messages, or one text as the only message; each placeholder in them is one of `images`, in order."""

    messages: Sequence[Message]
    images: Sequence[str]  # keys below the source's prefix; between the stages, digests of their patches
    is_text: bool = False  # the only message is a text without a role

    def normalized(self, normalize: Callable[[str], str]) -> "ImageText":
        changed = [{**message, "content": normalize(message["content"])} for message in self.messages]
        return replace(self, messages=changed)

    @property
    def empty(self) -> bool:
        return not any(message["content"].strip() for message in self.messages)

    def to_document(self) -> str:
        """One text for equal words and images: what is hashed, and kept between stages."""
        words: dict[str, Any] = (
            {"text": self.messages[0]["content"]} if self.is_text else {"messages": list(self.messages)}
        )
        return json.dumps(words | {"images": list(self.images)}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_document(cls, document: str) -> Self:
        content = json.loads(document)
        text = content.get("text")
        messages = content["messages"] if text is None else [_as_message(text)]
        return cls(messages, content["images"], is_text=text is not None)


def read_image_text(record: Mapping[str, Any], *, text_field: str, image_token: str) -> ImageText:
    """A record's `messages`, or its text, and `images`. Where its words hold no placeholder, the images come
    first. Raises ValueError (ConversationRefused of messages)."""
    images = _read_keys(record)
    is_text = "messages" not in record
    if is_text and not isinstance(record.get(text_field), str):
        raise ValueError(f"needs 'messages', or a string in field {text_field!r}")
    messages = [_as_message(record[text_field])] if is_text else read_messages(record)
    found = sum(message["content"].count(image_token) for message in messages)
    if images and not found:
        messages = _first(messages, image_token * len(images))
    elif found != len(images):
        raise ValueError(
            f"{found} placeholders {image_token!r} for {len(images)} images: write one where each image "
            "stands, or none at all for images that come first"
        )
    return ImageText(messages, images, is_text=is_text)


def _read_keys(record: Mapping[str, Any]) -> list[str]:
    images = record.get("images", [])
    if not isinstance(images, list):
        raise ValueError("field 'images' must be a list of keys below the source's uri")
    try:
        return _KEYS.validate_python(images)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"images[{first['loc'][0]}]: {first['msg']}") from error


def _as_message(text: str) -> Message:
    return {"role": _USER, "content": text}


def _first(messages: Sequence[Message], placeholders: str) -> list[Message]:
    """Before what the user says first; where none does, before everything."""
    place = next((number for number, message in enumerate(messages) if message["role"] == _USER), 0)
    changed = {**messages[place], "content": f"{placeholders}\n{messages[place]['content']}"}
    return [*messages[:place], changed, *messages[place + 1 :]]


@dataclass(frozen=True)
class EncodedImageText:
    conversation: Conversation  # of which no placeholder is predicted, or counted as text
    places: npt.NDArray[np.int64]  # [images]: of the first placeholder of each


class ImageTextEncoder:
    def __init__(
        self,
        tokenizer: Tokenizer,
        conversations: ConversationEncoder,
        *,
        eos_token_id: int,
        image_token: str,
        patches: int,
    ) -> None:
        """`tokenizer` reads special tokens in text, of which `image_token` is one; `conversations` lets it
        pass in messages. `patches` of an image."""
        self._tokenizer, self._conversations, self._eos = tokenizer, conversations, eos_token_id
        self._token, self._patches = image_token, patches
        self._id = tokenizer.token_to_id(image_token)

    def encode(self, document: ImageText) -> EncodedImageText:
        """Raises ConversationRefused, and the template's TemplateError."""
        words = document.normalized(lambda text: text.replace(self._token, self._token * self._patches))
        encoded = self._text(words) if document.is_text else self._conversations.encode(words.messages)
        is_image = encoded.ids == self._id
        places = self._places(is_image, images=len(document.images))
        said = replace(encoded, predicted=encoded.predicted & ~is_image)
        return EncodedImageText(said, places)

    def _text(self, words: ImageText) -> Conversation:
        """All of it is to be predicted."""
        self._conversations.require_plain(words.messages)
        text = words.messages[0]["content"]
        ids = np.array(
            [*self._tokenizer.encode(text, add_special_tokens=False).ids, self._eos], dtype=np.uint32
        )
        size = self._conversations.text_bytes(text)
        return Conversation(ids, np.ones(len(ids), dtype=bool), size, size)

    def _places(self, is_image: npt.NDArray[np.bool_], *, images: int) -> npt.NDArray[np.int64]:
        found = np.flatnonzero(is_image)
        if len(found) != images * self._patches:
            raise ConversationRefused(
                f"{images} images need {images * self._patches} tokens {self._token!r}, its text has "
                f"{len(found)}: use a chat template that writes what messages say, once"
            )
        rows = found.reshape(images, self._patches)
        if bool((rows != rows[:, :1] + np.arange(self._patches)).any()):
            raise ConversationRefused(f"the tokens {self._token!r} of an image do not follow each other")
        return rows[:, 0].astype(np.int64)
