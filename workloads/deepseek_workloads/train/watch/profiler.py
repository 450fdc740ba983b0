"""A trace of chosen steps by torch.profiler, put beside the run's metrics. Losing it never fails a run."""

import gzip
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from deepseek_workloads.contract import layout
from deepseek_workloads.contract.monitoring import Profile
from deepseek_workloads.store.interface import ObjectStore, StoreError


class StepProfiler:
    """Of rank 0. Traces open in chrome://tracing and Perfetto."""

    def __init__(
        self,
        wanted: Profile,
        store: ObjectStore,
        *,
        epoch: int,
        device_type: str,
        warn: Callable[[str], None],
    ) -> None:
        self._first, self._last = wanted.from_step, wanted.from_step + wanted.steps - 1
        self._store, self._prefix = store, layout.run_prefix(epoch)
        self._activities = [ProfilerActivity.CPU]
        if device_type == "cuda":
            self._activities.append(ProfilerActivity.CUDA)
        self._running: profile | None = None
        self._warn = warn

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around one step; the trace is written after its last one."""
        if number == self._first:
            self._running = profile(activities=self._activities)
            self._running.start()
        try:
            yield
        finally:
            if self._running is not None and number == self._last:
                self._running.stop()
                self._put(self._running)
                self._running = None

    def _put(self, done: profile) -> None:
        name = f"profile/steps-{self._first:08d}-{self._last:08d}.json.gz"
        with tempfile.TemporaryDirectory(prefix="deepseek-profile-") as folder:
            trace, packed = Path(folder, "trace.json"), Path(folder, "trace.json.gz")
            try:
                done.export_chrome_trace(str(trace))
                with trace.open("rb") as source, gzip.open(packed, "wb", compresslevel=4) as target:
                    shutil.copyfileobj(source, target)
                self._store.put_file(self._prefix + name, packed)
            except (OSError, StoreError) as error:
                self._warn(f"the trace of steps {self._first} to {self._last} is lost: {error}")
