"""Kills processes inside pods, found by their command lines: the images carry no pkill."""

from harness.kubectl import Kubectl

_KILL = """
import os, signal, sys
killed = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) in (1, os.getpid()):
        continue
    try:
        command = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\\0", b" ").decode()
    except OSError:
        continue
    if sys.argv[1] in command:
        os.kill(int(pid), signal.SIGKILL)
        killed.append(pid)
print(" ".join(killed))
"""


def kill_in_pod(kubectl: Kubectl, pod: str, command_part: str) -> int:
    """SIGKILL to every process but PID 1 whose command line contains the text; how many there were.

    Raises AssertionError where there was none: a kill that hit nothing proves nothing.
    """
    killed = kubectl.exec_python(pod, _KILL, command_part).split()
    assert killed, f"no process of pod {pod} has {command_part!r} in its command line"
    return len(killed)
