"""Who waits for whom: a job that waits for a dataset is looked at again when the dataset changes, a service
that serves the newest revision when any revision of its namespace does (a key without a name).

An optimisation only, held in memory: a waiting job also comes back by itself.
"""

from collections import defaultdict

from deepseek_operator.reconcile.key import Key


class Dependencies:
    def __init__(self) -> None:
        self._dependents: defaultdict[Key, set[Key]] = defaultdict(set)
        self._targets: dict[Key, frozenset[Key]] = {}

    def record(self, dependent: Key, *, on: frozenset[Key]) -> None:
        """Replaces what was recorded for this dependent; an empty set forgets it."""
        for target in self._targets.pop(dependent, frozenset()):
            self._dependents[target].discard(dependent)
            if not self._dependents[target]:
                del self._dependents[target]
        if on:
            self._targets[dependent] = on
            for target in on:
                self._dependents[target].add(dependent)

    def of(self, target: Key) -> frozenset[Key]:
        any_of_kind = target._replace(name="")
        return frozenset(self._dependents.get(target, ())) | frozenset(self._dependents.get(any_of_kind, ()))
