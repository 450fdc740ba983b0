"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math

from deepseek_workloads.contract.optimization import Schedule

QUADRATIC = 2.0  # the power of a polynomial decay that names none


def learning_rate(schedule: Schedule, *, peak: float, step: int, total_steps: int) -> float:
    """Of step 1..total_steps. Linear up to `peak` at step `warmup_steps`, then down to `min_ratio * peak` at
    the last step (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""
    if not 1 <= step <= total_steps:
        raise ValueError(f"step {step}: must be in 1..{total_steps}")
    if step <= schedule.warmup_steps:
        return peak * step / schedule.warmup_steps
    first = max(1, schedule.warmup_steps)  # the step that has the peak
    if schedule.name == "wsd":
        first = max(first, total_steps - decay_steps(schedule, total_steps=total_steps))
    progress = max(0, step - first) / max(1, total_steps - first)
    return peak * (schedule.min_ratio + (1 - schedule.min_ratio) * _remaining(schedule, progress))


def decay_steps(schedule: Schedule, *, total_steps: int) -> int:
    """Of warm-up, stable, decay (arXiv:2404.06395): how many steps at the end come down, linearly."""
    return schedule.decay_steps or max(1, total_steps // 10)


def _remaining(schedule: Schedule, progress: float) -> float:
    """What is left of the way down, 1 to 0, at `progress` 0 to 1."""
    match schedule.name:
        case "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        case "linear" | "wsd":
            return 1 - progress
        case "polynomial":
            return float((1 - progress) ** (schedule.power or QUADRATIC))
        case _:
            return 1.0
