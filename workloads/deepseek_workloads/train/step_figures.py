"""What is told of a step, by the names that metrics, curves and checkpoints have for it. Pure."""

from math import isfinite

from deepseek_workloads.train.trainer import StepResult


def step_figures(result: StepResult, learning_rate: float) -> dict[str, float]:
    """Of every step."""
    return {
        "loss": result.loss,
        **result.auxiliary,
        "gradientNorm": result.gradient_norm,
        "learningRate": learning_rate,
        "expertLoad": result.expert_load,
        "expertDropped": result.dropped,
    }


def occasional_figures(result: StepResult) -> dict[str, float]:
    """Those that not every step has."""
    looked = {"expertIdleShare": result.idle_share, "activationRange": result.activation_range}
    return {name: value for name, value in looked.items() if value is not None}


def layer_figures(result: StepResult) -> dict[str, float]:
    return {
        f"activationRange/layer{index:03d}": value for index, value in enumerate(result.activation_ranges)
    }


def checkpoint_figures(result: StepResult, rate: float, speed: float | None) -> dict[str, float]:
    """Of a checkpoint's record, which is JSON: it has no infinity, as gradients of an overflow have."""
    figures = {
        "loss": result.loss,
        "gradient_norm": result.gradient_norm,
        "learning_rate": rate,
        "tokens_per_second": speed,
    }
    return {name: value for name, value in figures.items() if value is not None and isfinite(value)}
