"""Gives each cluster of this machine a slot of its own, from which its addresses follow, and locks.

A claim is a small file, so that a second cluster sees the first even while that one boots. It does not look
at networks: whether a foreign program uses the slot's addresses is for network.py to say."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_kubernetes.errors import LocalKubernetesError
from local_kubernetes.settings import ROOT, SLOTS

_CLAIMS = ROOT / "slots"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file; waits for whoever holds it. The lock ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def state_locked(state_dir: Path) -> Iterator[None]:
    """Holds the cluster of that state folder: who changes it changes it alone."""
    name = hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]
    with locked(ROOT / "locks" / name):
        yield


def claim(state_dir: Path) -> int:
    """The slot of this state folder: the one that it has, or the first that is free.

    Raises LocalKubernetesError when all are taken.
    """
    with locked(_CLAIMS / "lock"):
        taken = _taken()
        for slot, holder in taken.items():
            if holder == state_dir:
                return slot
        for slot in range(SLOTS):
            if slot not in taken:
                (_CLAIMS / f"{slot}.claim").write_text(str(state_dir))
                return slot
    holders = ", ".join(str(holder) for holder in taken.values())
    raise LocalKubernetesError(
        f"all {SLOTS} slots of this machine are taken by {holders}: remove one of these clusters "
        "(PYTHONPATH=tests/cluster .venv/bin/python -m local_kubernetes down --state FOLDER)"
    )


def find(state_dir: Path) -> int | None:
    """The slot that this state folder holds."""
    return next((slot for slot, holder in _taken().items() if holder == state_dir), None)


def release(state_dir: Path) -> bool:
    """Gives the slot back; whether no cluster is left on this machine."""
    with locked(_CLAIMS / "lock"):
        slot = find(state_dir)
        if slot is not None:
            (_CLAIMS / f"{slot}.claim").unlink()
        return not _taken()


def others(state_dir: Path) -> list[Path]:
    """State folders of the machine's other clusters."""
    return [holder for holder in _taken().values() if holder != state_dir]


def _taken() -> dict[int, Path]:
    return {int(file.stem): Path(file.read_text()) for file in sorted(_CLAIMS.glob("*.claim"))}
