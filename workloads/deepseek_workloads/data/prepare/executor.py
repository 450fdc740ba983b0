"""Where the parts of a stage run. It does not know what a part is."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """The result of each item as it completes, in any order.

        `task` is a `functools.partial` of a module-level function over frozen values; it, the items and the
        results can be pickled on their way to another process. A task may be run again after its process was
        lost. The first error of a task is raised with its own type; closing the iterator drops what has not
        begun.
        """
        ...


class LocalExecutor:
    """Threads of this process."""

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads

    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="prepare")
        try:
            for future in as_completed([pool.submit(task, item) for item in items]):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
