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
        self._newest = 0  # step
        self._warn = warn

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around one step; the trace is written after its last one. After a rollback the first may come
        again, and with it another trace."""
        if number == self._first:
            self._begin()
        try:
            yield
        finally:
            self._newest = number
            if number == self._last:
                self.close()

    def close(self) -> None:
        """Writes the trace of a run that ends before the last step, if there is one."""
        done, self._running = self._running, None
        if done is not None and self._stopped(done):
            self._put(done)

    def _begin(self) -> None:
        before, self._running = self._running, None
        if before is not None:
            self._stopped(before)
        begun = profile(activities=self._activities)
        try:
            begun.start()
        except RuntimeError as error:
            self._lost(error)
        else:
            self._running = begun

    def _stopped(self, done: profile) -> bool:
        try:
            done.stop()
        except RuntimeError as error:
            self._lost(error)
            return False
        return True

    def _lost(self, error: Exception) -> None:
        self._warn(f"the trace of steps {self._first} to {self._last} is lost: {error}")

    def _put(self, done: profile) -> None:
        last = max(self._first, self._newest)
        name = f"profile/steps-{self._first:08d}-{last:08d}.json.gz"
        with tempfile.TemporaryDirectory(prefix="deepseek-profile-") as folder:
            trace, packed = Path(folder, "trace.json"), Path(folder, "trace.json.gz")
            try:
                done.export_chrome_trace(str(trace))
                with trace.open("rb") as source, gzip.open(packed, "wb", compresslevel=4) as target:
                    shutil.copyfileobj(source, target)
                self._store.put_file(self._prefix + name, packed)
            except (OSError, RuntimeError, StoreError) as error:
                self._lost(error)
