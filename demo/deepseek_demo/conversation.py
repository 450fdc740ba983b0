"""Asks the served model: by curl, as a shell would, and by OpenAI's own client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import openai

from deepseek_demo.commands import StepFailed, output

_SECONDS = 60
_MAX_TOKENS = 40
# So small a model repeats itself where it always takes the likeliest token.
_TEMPERATURE = 0.7
_SEED = 17


@dataclass(frozen=True)
class Answer:
    """What the model wrote, and which export it was."""

    text: str
    system_fingerprint: str


def complete(base_url: str, *, model: str, prompt: str) -> Answer:
    """A completion. Raises StepFailed."""
    with _client(base_url) as client, _failing(base_url):
        done = client.completions.create(
            model=model, prompt=prompt, max_tokens=_MAX_TOKENS, temperature=_TEMPERATURE, seed=_SEED
        )
        return Answer(prompt + done.choices[0].text, done.system_fingerprint or "")


def chat(base_url: str, *, model: str, question: str) -> Answer:
    """An answer of the chat API, by OpenAI's client. Raises StepFailed."""
    with _client(base_url) as client, _failing(base_url):
        done = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=_MAX_TOKENS,
            temperature=_TEMPERATURE,
            seed=_SEED,
        )
        return Answer((done.choices[0].message.content or "").strip(), done.system_fingerprint or "")


def curl_command(base_url: str, *, model: str, question: str) -> list[str]:
    """The same question for a shell."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": _MAX_TOKENS,
        "temperature": _TEMPERATURE,
        "seed": _SEED,
    }
    header = "Content-Type: application/json"
    data = json.dumps(body, ensure_ascii=False)
    return ["curl", "--silent", "--show-error", f"{base_url}/chat/completions", "-H", header, "-d", data]


def chat_by_curl(base_url: str, *, model: str, question: str) -> Answer:
    """Raises StepFailed, with what the API said."""
    said = output(curl_command(base_url, model=model, question=question))
    try:
        document = json.loads(said)
        text = str(document["choices"][0]["message"]["content"]).strip()
        return Answer(text, document["system_fingerprint"])
    except (ValueError, LookupError, TypeError) as error:
        raise StepFailed(f"{base_url}/chat/completions answered: {said.strip()[:500]}") from error


def _client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=base_url, api_key="none-is-asked-for", timeout=_SECONDS)


@contextmanager
def _failing(base_url: str) -> Iterator[None]:
    try:
        yield
    except openai.OpenAIError as error:
        raise StepFailed(f"{base_url}: {error}") from error
