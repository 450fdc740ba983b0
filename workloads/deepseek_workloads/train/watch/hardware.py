"""What the accelerator can do and does: its peak, for model FLOPs utilisation, and NVML's figures.

Without a GPU, or without the NVML bindings in the image, there is less to say, and nothing fails.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import torch

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.estimate import flops_per_token

# Dense bf16 FLOP/s by the name that CUDA reports, from NVIDIA's data sheets (without sparsity).
_PEAKS: Final = {
    "GB200": 2.5e15,  # the first that fits a name: before B200
    "B200": 2.25e15,
    "H200": 9.89e14,
    "H100 PCIe": 7.56e14,
    "H100": 9.89e14,
    "H800": 9.89e14,
    "H20": 1.48e14,
    "A100": 3.12e14,
    "A800": 3.12e14,
    "L40S": 3.62e14,
}
_OF_PRECISION: Final = {"fp8": 2.0, "bf16": 1.0, "fp16": 1.0, "fp32": 0.5}  # float32 as TF32


def peak_flops(device: torch.device, precision: str) -> float | None:
    """FLOP/s of one device; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((peak for known, peak in _PEAKS.items() if known in name), None)
    return None if peak is None else peak * _OF_PRECISION[precision]


def utilisation_of(
    run: TrainingRun, device: torch.device, *, world_size: int
) -> Callable[[float], float | None]:
    """From tokens a second, over all ranks, to model FLOPs utilisation; None where the peak is not known."""
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
