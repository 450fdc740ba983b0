"""What a run leaves behind to be plotted: JSON lines and TensorBoard events below `runs/<epoch>/`.

A thread owns the files, so that neither disk nor store slows a step. Objects cannot be appended to: what grew
is put again at each flush, and a new file is begun when one gets large. Losing metrics never fails a run.
"""

import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseek_workloads.contract import layout
from deepseek_workloads.store.interface import ObjectStore, StoreError
from deepseek_workloads.train.json_lines import json_line
from deepseek_workloads.train.watch.histograms import Histogram

FLUSH_SECONDS = 15.0
_PART_BYTES = 4 * 1024 * 1024  # of JSON lines in one object
_CLOSE_SECONDS = 60.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class _Entry:
    line: dict[str, Any]
    scalars: Mapping[str, float]
    step: int
    histograms: Mapping[str, Histogram] = field(default_factory=dict)


@dataclass
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)


class MetricsWriter:
    """Of rank 0. Every method but `close` returns at once."""

    def __init__(self, store: ObjectStore, epoch: int, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._store, self._prefix = store, layout.run_prefix(epoch)
        self._flush_seconds = flush_seconds
        self._inbox: queue.SimpleQueue[_Entry | _Flush | None] = queue.SimpleQueue()
        self._warning = ""
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def warning(self) -> str:
        """Why the newest flush failed; empty when it did not."""
        return self._warning

    def add(self, line: dict[str, Any], *, step: int, scalars: Mapping[str, float] | None = None) -> None:
        """One JSON line, and points of TensorBoard's curves by name."""
        self._inbox.put(_Entry(line, scalars or {}, step))

    def add_histograms(self, histograms: Mapping[str, Histogram], *, step: int) -> None:
        """Of TensorBoard, by name."""
        self._inbox.put(_Entry({}, {}, step, histograms))

    def begin_flush(self) -> Callable[[], None]:
        """The result waits until everything so far was put, or could not be."""
        request = _Flush()
        self._inbox.put(request)

        def wait() -> None:
            deadline = time.monotonic() + _CLOSE_SECONDS
            while not request.done.wait(_POLL_SECONDS):
                if time.monotonic() > deadline or not self._thread.is_alive():
                    return

        return wait

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="deepseek-metrics-") as folder:
                files = _Files(Path(folder))
                self._serve(files)
                files.close()
        except Exception as error:  # a full disk must not end a run that is well otherwise
            self._warning = f"metrics are lost from here on: {error}"
            self._release_waiters()

    def _release_waiters(self) -> None:
        while (message := self._inbox.get()) is not None:
            if isinstance(message, _Flush):
                message.done.set()

    def _serve(self, files: "_Files") -> None:
        dirty = False
        while True:
            try:
                message = self._inbox.get(timeout=self._flush_seconds)
            except queue.Empty:
                dirty = dirty and not self._put(files)
                continue
            if isinstance(message, _Entry):
                files.add(message)
                dirty = True
                if files.full:
                    self._put(files)
                    files.begin_part()
                    dirty = False
                continue
            dirty = dirty and not self._put(files)
            if message is None:
                return
            message.done.set()

    def _put(self, files: "_Files") -> bool:
        try:
            for name, path in files.current():
                self._store.put_file(self._prefix + name, path)
        except StoreError as error:
            self._warning = f"metrics could not be written: {error}"
            return False
        self._warning = ""
        return True


class _Files:
    """The part that grows: `metrics.jsonl`, then `metrics-00002.jsonl`, and an event file beside each."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # seconds of imports, here in the thread

        self._summary_writer = SummaryWriter
        self._folder = folder
        self._part = 0
        self.begin_part()

    @property
    def full(self) -> bool:
        return self._size >= _PART_BYTES

    def begin_part(self) -> None:
        if self._part:
            self.close()
        self._part += 1
        self._size = 0
        self._events = self._folder / f"tensorboard-{self._part:05d}"
        self._board = self._summary_writer(str(self._events))
        name = "metrics.jsonl" if self._part == 1 else f"metrics-{self._part:05d}.jsonl"
        self._lines = (self._folder / name).open("w", encoding="utf-8")

    def add(self, entry: _Entry) -> None:
        if entry.line:
            self._size += self._lines.write(json_line(entry.line) + "\n")
        for name, value in entry.scalars.items():
            self._board.add_scalar(name, value, entry.step)
        for name, made in entry.histograms.items():
            self._board.add_histogram_raw(
                name,
                min=made.smallest,
                max=made.largest,
                num=made.number,
                sum=made.total,
                sum_squares=made.total_of_squares,
                bucket_limits=made.limits,
                bucket_counts=made.counts,
                global_step=entry.step,
            )

    def current(self) -> list[tuple[str, Path]]:
        """Key below the run's prefix and path, of the files that have grown."""
        self._lines.flush()
        self._board.flush()
        lines = Path(self._lines.name)
        events = [(f"tensorboard/{path.name}", path) for path in sorted(self._events.iterdir())]
        return [(lines.name, lines), *events]

    def close(self) -> None:
        self._lines.close()
        self._board.close()
