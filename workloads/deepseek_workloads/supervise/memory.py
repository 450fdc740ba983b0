"""Has the kernel killed a process of this pod for its memory limit? Read from the cgroup; no decision."""

from pathlib import Path

_CGROUP_FILES = (
    Path("/sys/fs/cgroup/memory.events"),  # cgroup v2
    Path("/sys/fs/cgroup/memory/memory.oom_control"),  # cgroup v1
)


def out_of_memory_kills(files: tuple[Path, ...] = _CGROUP_FILES) -> int:
    """The cgroup's `oom_kill` counter; 0 where no such file is (outside of a container)."""
    for path in files:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
