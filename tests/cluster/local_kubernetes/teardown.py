"""Removes all that a cluster is made of, from what the machine shows rather than from what the tool
remembers, so that it works as well after a crash; then looks whether anything is left."""

import shutil
from pathlib import Path

from local_kubernetes import cgroups, network, slots, sysctls
from local_kubernetes.errors import InTheWayError, LocalKubernetesError
from local_kubernetes.settings import Network, Paths, Settings


def teardown(state_dir: Path) -> None:
    """Returns when nothing of the cluster is left. Raises LocalKubernetesError that names what is.

    Data in the volumes folder stay.
    """
    settings = read_settings(state_dir)
    if settings is not None:
        end_processes(settings)
        left = leftovers(settings)
        if left:
            raise LocalKubernetesError(f"still there after removing {settings.name}: {'; '.join(left)}")
    _remove_folder(state_dir)
    if slots.release(state_dir):
        sysctls.restore()


def end_processes(settings: Settings) -> None:
    """Removes all but files: processes, control groups, links and routes."""
    group = cgroups.group_of(settings.name)
    cgroups.kill(group)
    cgroups.remove(group)
    slot = slots.find(settings.state_dir)
    if slot is not None:
        network.remove_bridge(Network(slot), settings.node_names)


def leftovers(settings: Settings) -> list[str]:
    """What of the cluster, but for files, still exists on this machine, one line a thing."""
    slot = slots.find(settings.state_dir)
    group = cgroups.group_of(settings.name)
    found = [f"process {pid}" for pid in sorted(cgroups.processes(group))]
    found += [f"control group {path}" for path in cgroups.remaining(group)]
    found += [f"mount {path}" for path in _mounts_below(settings.state_dir)]
    if slot is not None:
        found += [f"network link {link}" for link in network.remaining_links(Network(slot))]
        found += [f"route {route}" for route in network.remaining_routes(Network(slot))]
    return found


def read_settings(state_dir: Path) -> Settings | None:
    """The settings that the folder's cluster was started with."""
    try:
        return Settings.from_json(Paths(state_dir).settings.read_text())
    except FileNotFoundError:
        return None


def _remove_folder(state_dir: Path) -> None:
    if not state_dir.exists():
        return
    if read_settings(state_dir) is None and any(state_dir.iterdir()):
        raise InTheWayError(
            f"state folder {state_dir}: not empty, and not a local cluster's; choose another one with "
            "--state, or empty it yourself"
        )
    mounts = _mounts_below(state_dir)
    if mounts:
        raise InTheWayError(
            f"{', '.join(mounts)}: mounted below the state folder; unmount it first (umount PATH)"
        )
    # The settings go last: what an interrupted removal leaves is still known to be ours.
    for path in state_dir.iterdir():
        if path != Paths(state_dir).settings:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(state_dir)


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = (line.split()[4] for line in lines)
    return [point for point in points if Path(point).is_relative_to(folder)]
