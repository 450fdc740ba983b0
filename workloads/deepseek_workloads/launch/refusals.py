"""What stands in the way of a run, gathered: each asks something of its own, all are told together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.interface import ObjectStore, StoreError

OpenStore = Callable[[Storage], ObjectStore]


@dataclass(frozen=True)
class Refusal:
    reason: str  # CamelCase
    message: str  # the object, what is wrong with it, what to do
    transient: bool = False  # asking again later can help


@dataclass
class Refusals:
    found: list[Refusal] = field(default_factory=list)

    @contextmanager
    def collected(self, what: str) -> Iterator[None]:
        """An error of storage or data ends the block, and becomes a refusal that says what it is about."""
        try:
            yield
        except StoreError as error:
            self.add(error.reason, f"{what}: {error}", transient=error.transient)
        except DatasetError as error:
            self.add(error.reason, f"{what}: {error}")

    def add(self, reason: str, message: str, *, transient: bool = False) -> None:
        self.found.append(Refusal(reason, message, transient))
