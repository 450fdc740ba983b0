"""Notices changes that no watch reported: lists resource versions now and then and compares.

A watch may die without a word. What it missed is reconciled anyway, and liveness learns of it: the process is
restarted when changes go on being missed.
"""

import logging
from collections.abc import Callable, Sequence

from deepseek_operator.cluster.interface import Cluster, ClusterError
from deepseek_operator.cluster.kinds import WATCHED, Kind
from deepseek_operator.reconcile.key import Key

_LOG = logging.getLogger(__name__)


class WatchCheck:
    """`namespaces`: empty for all."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespaces: Sequence[str],
        enqueue: Callable[[Key], None],
        kinds: Sequence[Kind] = WATCHED,
    ) -> None:
        self._cluster = cluster
        self._namespaces = tuple(namespaces) or ("",)
        self._enqueue = enqueue
        self._kinds = tuple(kinds)
        self._seen: dict[Key, str] = {}
        self._suspected: dict[Key, str] = {}
        self.consecutive_misses = 0

    def saw(self, key: Key, resource_version: str) -> None:
        """A watch reported this version of the resource."""
        self._seen[key] = resource_version
        self._suspected.pop(key, None)

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._seen.pop(key, None)
        self._suspected.pop(key, None)

    async def check(self) -> list[Key]:
        """The keys whose change was not reported between the last check and this one; they are enqueued.

        A version that is new to this check may still be under way, hence it is only suspected. Failures of
        the API server are left to the next check.
        """
        try:
            current = await self._list()
        except ClusterError as error:
            _LOG.warning("resource versions could not be compared: %s", error)
            return []
        unseen = {key: version for key, version in current.items() if self._seen.get(key) != version}
        missed = [key for key, version in unseen.items() if self._suspected.get(key) == version]
        self._suspected = unseen
        for key in [key for key in self._seen if key not in current]:
            self.forget(key)
        for key in missed:
            self._enqueue(key)
            self._seen[key] = current[key]
        self.consecutive_misses = self.consecutive_misses + 1 if missed else 0
        return missed

    async def _list(self) -> dict[Key, str]:
        versions: dict[Key, str] = {}
        for kind in self._kinds:
            for namespace in self._namespaces:
                for document in await self._cluster.list_metadata(kind, namespace=namespace):
                    metadata = document["metadata"]
                    key = Key(kind, metadata["namespace"], metadata["name"])
                    versions[key] = metadata["resourceVersion"]
        return versions
