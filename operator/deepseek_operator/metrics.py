"""What the operator counts about itself, in a registry of its own. It does not know who asks."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """All names begin with `deepseek_operator_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._prefix = "deepseek_operator"
        self.reconciles = self._counter("reconciles", "Passes over one resource, by result", "kind", "result")
        self.reconcile_seconds = self._histogram("reconcile_seconds", "Duration of a pass", "kind")
        self.retries = self._counter("reconcile_retries", "Passes that failed and are tried again", "kind")
        self.queue_depth = self._gauge("queue_depth", "Resources that wait for a worker")
        self.api_requests = self._counter(
            "api_requests", "Requests to the API server", "verb", "resource", "code"
        )
        self.api_request_seconds = self._histogram("api_request_seconds", "Their duration", "verb")
        self.watch_events = self._counter("watch_events", "Events received from watches", "resource")
        self.missed_events = self._counter("watch_missed", "Changes that no watch reported", "resource")
        self.invalid_progress = self._counter(
            "invalid_progress", "Answers of coordinators that are no progress"
        )
        self.leading = self._gauge("leading", "1 while this process holds the Lease")

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """It is asked whenever somebody reads the metrics."""
        self.queue_depth.set_function(depth)

    def observe_request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """Of `cluster.api_server`; status 0 is a request without an answer."""
        self.api_requests.labels(verb=verb, resource=resource, code=str(status)).inc()
        self.api_request_seconds.labels(verb=verb).observe(seconds)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"{self._prefix}_{name}", help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, *labels: str) -> Histogram:
        return Histogram(f"{self._prefix}_{name}", help_, labels, buckets=_SECONDS, registry=self.registry)

    def _gauge(self, name: str, help_: str) -> Gauge:
        return Gauge(f"{self._prefix}_{name}", help_, registry=self.registry)
