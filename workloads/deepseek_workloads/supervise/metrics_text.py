"""`GET /metrics`: the progress in Prometheus' text format 0.0.4. Pure."""

from deepseek_workloads.contract.messages import Progress

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "deepseek_run"


def metrics_text(progress: Progress) -> str:
    samples: list[tuple[str, str, str, float]] = [
        ("step", "gauge", "Optimizer steps done", progress.step),
        ("tokens", "gauge", "Tokens trained on", progress.tokens),
        ("restarts_total", "counter", "Restarts of the driver or its group in this pod", progress.restarts),
        ("failures_total", "counter", "Restarts that count against backoffLimit", progress.failures),
        ("ranks", "gauge", "Ranks that have reported", len(progress.ranks)),
    ]
    optional = [
        ("loss", "Training loss, nats a token", progress.loss),
        ("learning_rate", "Learning rate", progress.learning_rate),
        ("gradient_norm", "Norm of the gradient before clipping", progress.gradient_norm),
        ("tokens_per_second", "Tokens trained on a second", progress.tokens_per_second),
    ]
    samples += [(name, "gauge", text, value) for name, text, value in optional if value is not None]
    lines = [
        line
        for name, kind, text, value in samples
        for line in (
            f"# HELP {_PREFIX}_{name} {text}",
            f"# TYPE {_PREFIX}_{name} {kind}",
            f"{_PREFIX}_{name} {value}",
        )
    ]
    lines += [f"# HELP {_PREFIX}_seconds_total Time by part", f"# TYPE {_PREFIX}_seconds_total counter"]
    lines += [
        f'{_PREFIX}_seconds_total{{part="{part}"}} {seconds}' for part, seconds in progress.goodput.items()
    ]
    return "\n".join(lines) + "\n"
