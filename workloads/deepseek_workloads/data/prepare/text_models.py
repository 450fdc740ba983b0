"""What stages ask of models of texts that they name by URI. It does not know how such a model is computed.

Those that need torch come from who runs the preparation: this package starts without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.interface import ObjectStore

Vectors = npt.NDArray[np.float32]


class TextEncoder(Protocol):
    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[texts, dimensions], of length 1; 0 for a text that the model makes nothing of."""
        ...


class TextScorer(Protocol):
    def perplexity(self, text: str) -> float:
        """A character; infinite where there is nothing to predict."""
        ...


class TextModels(Protocol):
    """Of the folder that a store is at. Both raise DatasetError, and StoreErrors."""

    def encoder(self, store: ObjectStore) -> TextEncoder: ...

    def scorer(self, store: ObjectStore) -> TextScorer: ...


@dataclass(frozen=True)
class NoTextModels:
    """Of a process that has no torch."""

    def encoder(self, store: ObjectStore) -> TextEncoder:
        raise self._refused(store)

    def scorer(self, store: ObjectStore) -> TextScorer:
        raise self._refused(store)

    def _refused(self, store: ObjectStore) -> DatasetError:
        return DatasetError(
            f"model.uri: {store.uri}: this preparation runs without torch: run it by "
            "deepseek_workloads.launch.ray_prepare, or use a static embedding model, or a reference in uris",
            reasons.INVALID_RUN_CONFIG,
        )


NO_TEXT_MODELS: Final = NoTextModels()
