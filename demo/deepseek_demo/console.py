"""What the user sees while the demo works: a live table and a bar per step on a terminal, else plain lines.

It knows how to show steps, not what they do.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import rich.console
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

Rows = Sequence[tuple[str, str, str, str]]  # kind, name, state, detail


class Step(Protocol):
    """One step in progress; steps may run side by side."""

    def say(self, text: str) -> None:
        """What the step is doing, or waiting for."""
        ...

    def progress(self, done: float, total: float, doing: str = "") -> None:
        """How far it is, and what it is doing there."""
        ...


class Console(Protocol):
    """Shows steps, the state of the resources, and text. Safe to use from several threads."""

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Shown as begun, then as done or failed, with its time."""
        ...

    def resources(self, header: Sequence[str], rows: Rows) -> None:
        """The resources as they are now, in place of what was shown before."""
        ...

    def print(self, text: str) -> None:
        """Text that stays."""
        ...


class PlainConsole:
    """A line for each thing that happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], str] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        began = time.monotonic()
        self._line(f"{name} ...")
        try:
            yield _PlainStep(name, self._line)
        except BaseException:
            self._line(f"{name}: FAILED after {time.monotonic() - began:.0f} s")
            raise
        self._line(f"{name}: done in {time.monotonic() - began:.0f} s")

    def resources(self, header: Sequence[str], rows: Rows) -> None:  # noqa: ARG002 - lines have no header
        """A line for each resource that is new or has another state; details change all the time."""
        for kind, name, state, detail in rows:
            if self._states.get((kind, name)) != state:
                self._line(f"{kind} {name}: {state or 'created'} {detail}".rstrip())
        self._states = {(kind, name): state for kind, name, state, _ in rows}

    def print(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def _line(self, text: str) -> None:
        self.print(f"[{time.monotonic() - self._start:6.1f} s] {text}")


@dataclass
class _PlainStep:
    name: str
    line: "LineWriter"
    tenths: int = -1

    def say(self, text: str) -> None:
        self.line(f"{self.name}: {text}")

    def progress(self, done: float, total: float, doing: str = "") -> None:
        tenths = int(10 * done / total) if total else 0
        if tenths > self.tenths:
            self.tenths = tenths
            self.line(f"{self.name}: {10 * tenths} % {doing}".rstrip())


class LineWriter(Protocol):
    def __call__(self, text: str) -> None: ...


class LiveConsole:
    """A table of the resources over a bar for each step, redrawn in place; finished steps stay as lines."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[doing]}"))
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console)
        self._table: Table | None = None
        self._live = Live(get_renderable=self._view, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveConsole":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        began = time.monotonic()
        bar = self._bars.add_task(name, total=None, doing="")
        try:
            yield _LiveStep(self._bars, bar)
        except BaseException:
            self._finish(bar, f"[red]✗[/red] {name} ({time.monotonic() - began:.0f} s)")
            raise
        self._finish(bar, f"[green]✓[/green] {name} ({time.monotonic() - began:.0f} s)")

    def resources(self, header: Sequence[str], rows: Rows) -> None:
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        self._table = table

    def refresh(self) -> None:
        """Draw now; it is drawn four times a second anyway."""
        self._live.refresh()

    def print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _finish(self, bar: TaskID, line: str) -> None:
        self._bars.remove_task(bar)
        self._console.print(line)

    def _view(self) -> Group:
        return Group(*([] if self._table is None else [self._table]), self._bars)


@dataclass
class _LiveStep:
    bars: Progress
    bar: TaskID

    def say(self, text: str) -> None:
        self.bars.update(self.bar, doing=text)

    def progress(self, done: float, total: float, doing: str = "") -> None:
        self.bars.update(self.bar, completed=done, total=total)
        if doing:
            self.bars.update(self.bar, doing=doing)


@contextmanager
def open_console() -> Iterator[Console]:
    """The kind that fits standard output."""
    console = rich.console.Console()
    if console.is_terminal and not console.is_dumb_terminal:
        with LiveConsole(console) as live:
            yield live
    else:
        yield PlainConsole()
