"""Prometheus metrics of one replica. The engine's thread writes, `GET /metrics` reads."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0)
_ROUTES = ("/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/predict")


class ServingMetrics:
    """An `Observer` of the engine."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._first_token = Histogram(
            "deepseek_serve_time_to_first_token_seconds",
            "From a request's arrival at the engine to its first token",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._per_token = Histogram(
            "deepseek_serve_time_per_output_token_seconds",
            "Mean of a request, without its first token",
            buckets=_TOKEN_SECONDS,
            registry=self._registry,
        )
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts that were answered")
        self._tokens = self._counter("generation_tokens", "Tokens of answers")
        self._requests = Counter(
            "deepseek_serve_http_requests",
            "Answers by route and status code",
            ["route", "code"],
            registry=self._registry,
        )
        self.answered = 0  # requests of the routes above, with any code

    def watch(self, *, running: Callable[[], int], queued: Callable[[], int]) -> None:
        for name, text, read in (
            ("running_requests", "Requests that hold a place in the batch", running),
            ("queued_requests", "Requests that wait for a place", queued),
        ):
            gauge = Gauge(f"deepseek_serve_{name}", text, registry=self._registry)
            gauge.set_function(read)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)

    def finished(self, *, prompt_tokens: int, tokens: int, seconds_per_token: float | None) -> None:
        self._prompt_tokens.inc(prompt_tokens)
        self._tokens.inc(tokens)
        if seconds_per_token is not None:
            self._per_token.observe(seconds_per_token)

    def count(self, path: str, code: int) -> None:
        """Of one answer. Paths of a client's invention make no series of their own."""
        route = path if path in _ROUTES else "other"
        self._requests.labels(route, str(code)).inc()
        self.answered += route != "other"

    def exposition(self) -> bytes:
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"deepseek_serve_{name}", text, registry=self._registry)
