"""Steps that need nothing of each other, each in a thread; the first failure is told at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from deepseek_demo.console import Console

P = ParamSpec("P")
T = TypeVar("T")


class SideBySide:
    """Starts steps; `side_by_side` waits for them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.started: list[Future[Any]] = []

    def start(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin a step; its result is there after the block."""
        future = self._pool.submit(step, *args, **kwargs)
        self.started.append(future)
        return future


@contextmanager
def side_by_side(console: Console) -> Iterator[SideBySide]:
    """Returns when all steps are done. Raises what the first that failed raised, after the others ended."""
    with ThreadPoolExecutor() as pool:
        steps = SideBySide(pool)
        yield steps
        done, others = wait(steps.started, return_when=FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed and others:
            console.print(
                f"failed: {failed[0].exception()}\nwaiting for the steps beside it (Ctrl-C: do not)"
            )
    for future in failed:
        future.result()
