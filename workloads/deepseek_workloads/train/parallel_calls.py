"""One call for each item, some at a time, in threads that do not keep a process from ending."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(call: Callable[[Item], Result], items: Sequence[Item], *, threads: int) -> list[Result]:
    """In the order of `items`. Raises the first error, when the calls that had begun have ended; what had not
    begun by then is left out.

    concurrent.futures would wait for its threads at the end of the process, however long a store takes.
    """
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    waiting: queue.SimpleQueue[tuple[int, Item]] = queue.SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)

    def work() -> None:
        while not errors:
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[number] = call(item)
            except BaseException as error:  # raised again below
                errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(items)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(items))]
