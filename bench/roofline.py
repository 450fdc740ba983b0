"""What this machine computes at best: the reference that a step's products are held against."""

import time

import torch

_EDGE = 1024
_SECONDS, _PRODUCTS = 0.5, 50  # at least
_WORTH = 1.2  # a lower precision is one the machine does well where its products are this much faster


def peak_flops(dtype: torch.dtype, *, device: str = "cpu", edge: int = _EDGE) -> float:
    """Operations a second of the fastest of many square products, on the threads that torch has now."""
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    while len(times) < _PRODUCTS or sum(times) < _SECONDS:
        begun = time.perf_counter()
        left @ right
        synchronize(device)
        times.append(time.perf_counter() - begun)
    return 2 * edge**3 / min(times)


def good_dtypes(device: str = "cpu") -> dict[str, float]:
    """fp32, and bf16 where there are instructions for it, each with its peak in operations a second."""
    peaks = {"fp32": peak_flops(torch.float32, device=device)}
    bf16 = peak_flops(torch.bfloat16, device=device)
    return peaks | ({"bf16": bf16} if bf16 > _WORTH * peaks["fp32"] else {})


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
