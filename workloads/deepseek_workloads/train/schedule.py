"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math

from deepseek_workloads.contract.run_config import Schedule


def learning_rate(schedule: Schedule, *, peak: float, step: int, total_steps: int) -> float:
    """Of step 1..total_steps. Linear up to `peak` at step `warmup_steps`, then down to `min_ratio * peak` at
    the last step (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""
    if not 1 <= step <= total_steps:
        raise ValueError(f"step {step}: must be in 1..{total_steps}")
    if step <= schedule.warmup_steps:
        return peak * step / schedule.warmup_steps
    first = max(1, schedule.warmup_steps)  # the step that has the peak
    progress = (step - first) / max(1, total_steps - first)
    return peak * (schedule.min_ratio + (1 - schedule.min_ratio) * _remaining(schedule.name, progress))


def _remaining(name: str, progress: float) -> float:
    """What is left of the way down, 1 to 0, at `progress` 0 to 1."""
    match name:
        case "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            return 1 - progress
        case _:
            return 1.0
