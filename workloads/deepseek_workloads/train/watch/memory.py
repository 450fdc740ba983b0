"""How much of its memory limit a rank uses, or has left: of its GPU, or of the pod that ranks share."""

from pathlib import Path
from typing import Final

import torch

_CURRENT: Final = Path("/sys/fs/cgroup/memory.current")
_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_STATISTICS: Final = Path("/sys/fs/cgroup/memory.stat")


def memory_share(device: torch.device) -> float | None:
    """0 to 1. None: no limit is known here. Of a GPU the peak of tensors since the look before, one look a
    step: what the allocator keeps for later is no need, and it keeps nearly all as a matter of course. No
    synchronisation with the device."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak / torch.cuda.get_device_properties(device).total_memory
    return pod_memory_share()


def pod_memory_share(
    current: Path = _CURRENT, limit: Path = _LIMIT, statistics: Path = _STATISTICS
) -> float | None:
    """Without the file cache, which the kernel gives back. None outside of a limited cgroup v2."""
    read = _used_and_limit(current, limit, statistics)
    return None if read is None else read[0] / read[1]


def spare_memory(
    current: Path = _CURRENT, limit: Path = _LIMIT, statistics: Path = _STATISTICS
) -> int | None:
    """Bytes to the pod's limit, without the file cache. None outside of a limited cgroup v2."""
    read = _used_and_limit(current, limit, statistics)
    return None if read is None else max(0, read[1] - read[0])


def _used_and_limit(current: Path, limit: Path, statistics: Path) -> tuple[int, int] | None:
    try:
        bound = limit.read_text().strip()
        if bound == "max":
            return None
        lines = (line.split() for line in statistics.read_text().splitlines())
        cached = next((int(size) for name, size in lines if name == "inactive_file"), 0)
        return max(0, int(current.read_text()) - cached), int(bound)
    except (OSError, ValueError):
        return None
