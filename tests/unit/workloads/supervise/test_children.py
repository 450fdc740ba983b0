"""Real processes of this machine."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from deepseek_workloads.supervise.children import Children, Exit, descendants

SECONDS = 20
# A process that leaves an orphan behind in a session of its own, as Ray's daemons are.
LEAVE_ORPHAN = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
"""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - whatever the condition is made of
            await asyncio.sleep(0.005)


def processes() -> tuple[Children, list[Exit]]:
    exits: list[Exit] = []
    children = Children(exits.append)
    children.adopt_orphans(asyncio.get_running_loop())
    return children, exits


def start(children: Children, name: str, code: str) -> None:
    children.start(name, [sys.executable, "-c", code], environ=os.environ)


async def test_the_end_of_a_child_is_told_with_its_exit_code() -> None:
    children, exits = processes()
    start(children, "driver", "raise SystemExit(75)")
    await until(lambda: exits)
    assert (exits[0].name, exits[0].exit_code) == ("driver", 75)


async def test_a_signal_is_told_as_the_shell_would() -> None:
    children, exits = processes()
    start(children, "driver", "import os; os.kill(os.getpid(), 9)")
    await until(lambda: exits)
    assert exits[0].exit_code == 137


async def test_a_signal_reaches_the_child() -> None:
    children, exits = processes()
    start(children, "ray", "import time; time.sleep(1000)")
    children.signal("ray", signal.SIGTERM)
    await until(lambda: exits)
    assert exits[0].exit_code == 143


async def test_kill_all_also_finds_orphans_of_other_sessions_and_tells_nobody() -> None:
    children, exits = processes()
    start(children, "ray", LEAVE_ORPHAN)
    await until(lambda: exits)  # its parent has ended; it is ours now
    await until(lambda: descendants(os.getpid()))
    start(children, "driver", "import time; time.sleep(1000)")
    await children.kill_all()
    assert not descendants(os.getpid())
    assert [ended.name for ended in exits] == ["ray"]


def test_descendants_are_read_from_the_tree_of_processes(tmp_path: Path) -> None:
    table = {1: (0, "S", "init"), 7: (1, "S", "ray (head)) S 1"), 8: (7, "R", "rank"), 9: (7, "Z", "gone")}
    for pid, (parent, state, name) in table.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) {state} {parent} 0 0\n")
    (tmp_path / "meminfo").mkdir()
    assert descendants(1, proc=tmp_path) == {7, 8}
    assert descendants(7, proc=tmp_path) == {8}
