"""A loaded export as clients know it: its name, its limits, and how their texts become token ids."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseek_workloads.data.chat_template import ChatTemplate, chat_template_of
from deepseek_workloads.export.load import LoadedExport

FINGERPRINT_DIGITS = 16


class RequestRefused(ValueError):
    """`param` names the field. The message says value, rule and remedy."""

    def __init__(self, message: str, *, param: str, code: str) -> None:
        super().__init__(message)
        self.param, self.code = param, code


@dataclass(frozen=True)
class ServedModel:
    name: str
    export: LoadedExport
    max_model_len: int  # tokens of prompt and answer
    chat: ChatTemplate
    loaded_at: int = field(default_factory=lambda: int(time.time()))  # Unix seconds

    @property
    def fingerprint(self) -> str:
        """The first link of provenance: `kubectl get dsrev` shows the digests that begin with it."""
        return f"fp_{self.export.digest.removeprefix('sha256:')[:FINGERPRINT_DIGITS]}"

    @property
    def vocab_size(self) -> int:
        return self.export.model.architecture.vocab_size

    def encode_prompt(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        """Raises RequestRefused."""
        if not isinstance(prompt, str):
            self.require_known(prompt, param="prompt")
            return tuple(prompt)
        return self._encode(prompt, add_special_tokens=True, param="prompt")

    def encode_messages(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """Raises RequestRefused, and TemplateError. What is special about the prompt is in the template."""
        return self._encode(self.chat.render(messages), add_special_tokens=False, param="messages")

    def tokens_for_answer(self, prompt: Sequence[int], *, wanted: int | None, default: int | None) -> int:
        """How many tokens the answer may have. Raises RequestRefused for more than there is room."""
        limit = self.max_model_len
        room = limit - len(prompt)
        if room < 1 or (wanted is not None and wanted > room):
            asked = "" if wanted is None else f" and {wanted} of the answer"
            raise RequestRefused(
                f"{len(prompt)} tokens of the prompt{asked}: this model's maximum context length is {limit} "
                "tokens; shorten the prompt or lower max_tokens",
                param="max_tokens" if room >= 1 else "prompt",
                code="context_length_exceeded",
            )
        return min(room, wanted or default or room)

    def require_known(self, ids: Sequence[int], *, param: str) -> None:
        """Raises RequestRefused for ids outside the vocabulary."""
        if ids and not max(ids) < self.vocab_size:
            message = f"{param}: token id {max(ids)}: must be below {self.vocab_size}, the vocabulary's size"
            raise RequestRefused(message, param=param, code="invalid_value")

    def _encode(self, text: str, *, add_special_tokens: bool, param: str) -> tuple[int, ...]:
        ids = self.export.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        if not ids:
            raise RequestRefused(f"{param}: empty: must hold a token", param=param, code="invalid_value")
        return tuple(ids)


def served_model(export: LoadedExport, *, name: str, max_model_len: int | None) -> ServedModel:
    """Raises TemplateError for a broken chat template."""
    positions = export.model.architecture.max_position_embeddings
    return ServedModel(
        name=name,
        export=export,
        max_model_len=min(max_model_len or positions, positions),
        chat=chat_template_of(export.tokenizer_config),
    )
