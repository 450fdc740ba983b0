"""What a benchmark measures time by, in seconds, as its option --clock names it."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

Clock = Callable[[], float]
CLOCKS: Mapping[str, Clock] = MappingProxyType({"wall": time.perf_counter, "cpu": time.process_time})
CLOCK_HELP = "cpu: processor time, for a machine that others use too"
