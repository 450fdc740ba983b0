"""What the kernel says of the memory that this process has."""

from pathlib import Path


def status_bytes(name: str) -> int:
    """Bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/self/status: {name}: this kernel does not report it")
