"""What the accelerator can do and does: its peak, for model FLOPs utilisation, and NVML's figures.

Without a GPU, or without the NVML bindings in the image, there is less to say, and nothing fails.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.accelerators import accelerator_of
from deepseek_workloads.plan.estimate import flops_per_token


def peak_flops(device: torch.device, precision: str) -> float | None:
    """FLOP/s of one device; None where it is not known."""
    if device.type != "cuda":
        return None
    known = accelerator_of(torch.cuda.get_device_name(device))
    return None if known is None else known.flops(precision)


def utilisation_of(
    run: TrainingRun, device: torch.device, *, world_size: int
) -> Callable[[float], float | None]:
    """From tokens a second, over all ranks, to model FLOPs utilisation; None where the peak is not known."""
    if run.model_function is not None:  # whose products nobody has counted
        return lambda _rate: None
    peak = peak_flops(device, run.training.precision)
    needed = flops_per_token(run.architecture, sequence_length=run.data.sequence_length)
    return lambda rate: None if peak is None else rate * needed / (peak * world_size)


class GpuMeter:
    """Of this rank's GPU. Empty figures without one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._nvml, self._handle = _open_nvml(device)

    def figures(self) -> dict[str, float]:
        if self._device.type != "cuda":
            return {}
        figures = {
            "gpuMemoryGiB": torch.cuda.memory_allocated(self._device) / 2**30,
            "gpuMemoryPeakGiB": torch.cuda.max_memory_allocated(self._device) / 2**30,
        }
        if self._nvml is not None:
            figures |= nvml_figures(self._nvml, self._handle)
        return figures


def nvml_figures(nvml: Any, handle: Any) -> dict[str, float]:
    """What this GPU tells: power is unknown to some virtual ones, utilisation to slices (MIG), and a lost one
    tells nothing."""
    figures: dict[str, float] = {}
    with suppress(nvml.NVMLError):
        figures["gpuUtilisation"] = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    with suppress(nvml.NVMLError):
        figures["gpuPowerWatts"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return figures


def _open_nvml(device: torch.device) -> tuple[Any, Any]:
    if device.type != "cuda":
        return None, None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except Exception:  # no bindings, no driver library, no permission: figures are left out
        return None, None
    return pynvml, handle
