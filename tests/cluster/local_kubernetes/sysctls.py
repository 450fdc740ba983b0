"""Kernel settings of the whole machine that a kubelet changes: remembered before the first cluster, put back
after the last one."""

import json
from pathlib import Path

from local_kubernetes.settings import ROOT

_REMEMBERED = ROOT / "sysctls.json"
_CHANGED_BY_KUBELETS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
_SYS = Path("/proc/sys")


def remember() -> None:
    """Keeps the values of before our first kubelet; later calls change nothing."""
    if not _REMEMBERED.exists():
        values = {name: (_SYS / name).read_text().strip() for name in _CHANGED_BY_KUBELETS}
        _REMEMBERED.parent.mkdir(parents=True, exist_ok=True)
        _REMEMBERED.write_text(json.dumps(values))


def restore() -> None:
    """Writes back what was remembered, and forgets it."""
    if _REMEMBERED.exists():
        for name, value in json.loads(_REMEMBERED.read_text()).items():
            if (_SYS / name).read_text().strip() != value:
                (_SYS / name).write_text(value)
        _REMEMBERED.unlink()
