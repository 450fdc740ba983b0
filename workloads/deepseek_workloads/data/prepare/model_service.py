"""A model behind an OpenAI-compatible API, as a stage asks it. It does not know what it is asked for.

The key, if any, is in the environment of the pod, and in no message and no log. What may pass (a service that
is away or busy) is tried again; what is wrong with the request or its text is told apart from what is wrong
with the service's address, model or key.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.environment import OPENAI_API_KEY
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.retry import RetryPolicy

RETRIES = RetryPolicy(budget_seconds=180, base_seconds=0.5, cap_seconds=30)
SHOWN_CHARACTERS = 200  # of what a service answers to a request that it refuses
_REFUSED = (400, 413, 422)  # the request, by what is in it
_BUSY = (408, 409, 425, 429)


class ModelServiceAway(Exception):
    """Did not answer within the budget of retries; what was asked may be asked again later."""


class RequestRefused(Exception):
    """The service answers others, but not this request."""

    def __init__(self, status: int, *, said: str) -> None:
        super().__init__(f"HTTP {status}")
        self.said = said  # the service's own words, which may quote the request: for the quarantine only


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str  # stop: it is whole; length: the limit of tokens cut it


class _NotNow(Exception):
    """What may pass."""

    def __init__(self, why: str, *, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after  # seconds, as the service wishes


class ModelService:
    """`base_url` with its /v1. Safe for threads, `connections` of which it serves at a time."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        timeout_seconds: float,
        connections: int = 1,
        retries: RetryPolicy | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url, self._key, self._timeout_seconds = base_url.rstrip("/"), key, timeout_seconds
        self._retries, self._sleep, self._clock = retries or RETRIES, sleep, clock
        self._pool = urllib3.PoolManager(maxsize=connections, block=True)

    def models(self) -> list[str]:
        """Names of what is served. Raises DatasetError and ModelServiceAway."""
        try:
            return [str(card["id"]) for card in self._request("GET", "models")["data"]]
        except RequestRefused as error:
            raise self._unusable(f"GET /models: {error}") from error
        except (KeyError, TypeError) as error:
            raise self._unusable("GET /models: an answer without a list of models") from error

    def chat(self, content: str, *, model: str, max_tokens: int, seed: int) -> Answer:
        """What the model says to one message, the likeliest tokens each. Raises RequestRefused, DatasetError
        and ModelServiceAway."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": seed,
            "max_tokens": max_tokens,
        }
        answer = self._request("POST", "chat/completions", body)
        try:
            choice = answer["choices"][0]
            return Answer(str(choice["message"]["content"] or ""), str(choice.get("finish_reason") or ""))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._unusable("POST /chat/completions: an answer without a choice") from error

    def close(self) -> None:
        self._pool.clear()

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        failures, first_failure = 0, 0.0
        while True:
            try:
                return self._try(method, path, body)
            except _NotNow as error:
                failures += 1
                first_failure = first_failure if failures > 1 else self._clock()
                elapsed = self._clock() - first_failure
                delay = self._retries.delay(failures, elapsed=elapsed, uniform=random.random)
                if delay is None:
                    raise ModelServiceAway(
                        f"{self._base_url}: {method} /{path}: {failures} tries in {elapsed:.0f} s: {error}: "
                        "see to the service; preparation goes on from the parts that are done"
                    ) from error
                self._sleep(max(delay, min(error.retry_after, self._retries.cap_seconds)))

    def _try(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            response = self._pool.request(
                method,
                f"{self._base_url}/{path}",
                body=None if body is None else json.dumps(body).encode(),
                headers=self._headers(),
                timeout=self._timeout_seconds,
                retries=False,
                redirect=False,  # another host would see the key
            )
        except urllib3.exceptions.HTTPError as error:
            raise _NotNow(type(error).__name__) from error
        if response.status in _BUSY or response.status >= 500:
            retry_after = _seconds(response.headers.get("Retry-After"))
            raise _NotNow(f"HTTP {response.status}", retry_after=retry_after)
        if response.status in _REFUSED:
            raise RequestRefused(response.status, said=self._shown(response.data))
        if response.status != 200:
            raise self._unusable(f"{method} /{path}: HTTP {response.status}")
        try:
            return json.loads(response.data)
        except ValueError as error:
            raise self._unusable(f"{method} /{path}: the answer is no JSON") from error

    def _headers(self) -> dict[str, str]:
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"Content-Type": "application/json", "Accept": "application/json"} | authorization

    def _shown(self, content: bytes) -> str:
        try:
            text = str(json.loads(content)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            text = content.decode(errors="replace")
        return (text.replace(self._key, "***") if self._key else text)[:SHOWN_CHARACTERS]

    def _unusable(self, why: str) -> DatasetError:
        return DatasetError(
            f"baseUrl {self._base_url}: {why}: name the URL of an OpenAI-compatible API with its /v1, a "
            f"model that it serves, and, where it asks for one, a Secret with {OPENAI_API_KEY} in secretRef",
            reasons.INVALID_RUN_CONFIG,
        )


def _seconds(retry_after: str | None) -> float:
    """0 where it is absent or a date."""
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
