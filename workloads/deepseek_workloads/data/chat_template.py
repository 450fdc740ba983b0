"""From messages to text: by the template that comes with a tokenizer, in a sandbox, or by a plain one.

Templates come with models, so they are foreign code: rendered without access to anything but their input, as
`transformers` does. It does not know token ids.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

# For an export without one: a line for each message, and the line of the answer begun.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

# For a dataset of conversations that names none: as plain, and every answer ends with the end of a text.
CONVERSATION_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def conversation_template(named: str | None) -> str:
    """What turns the messages of a dataset into text."""
    return CONVERSATION_TEMPLATE if named is None else named


class TemplateError(ValueError):
    """The template refuses these messages, or fails on them. The message is the template's own."""


class ChatTemplate:
    def __init__(self, source: str | None, *, special_tokens: Mapping[str, str]) -> None:
        """`special_tokens`: bos_token and the like by name. Raises TemplateError for what is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(PLAIN_TEMPLATE if source is None else source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"chat_template of tokenizer_config.json: {error}") from error

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> str:
        """The messages as text; with `add_generation_prompt` up to where the answer begins. Raises
        TemplateError."""
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                tools=None,
                **self._special_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise TemplateError(f"messages: the model's chat template refuses them: {error}") from error


def chat_template_of(tokenizer_config: Mapping[str, Any]) -> ChatTemplate:
    """Raises TemplateError. Several templates by name (Hugging Face's list form): the one named `default`."""
    source = tokenizer_config.get("chat_template")
    if isinstance(source, list):
        source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
    special = {
        name: _text_of(value)
        for name, value in tokenizer_config.items()
        if name.endswith("_token") and isinstance(value, (str, dict))
    }
    return ChatTemplate(source, special_tokens=special)


def _text_of(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token.get("content", ""))


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)
