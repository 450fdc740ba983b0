"""Models of texts for the tasks of a preparation: torch is imported by those that ask for one."""

from dataclasses import dataclass

from deepseek_workloads.data.prepare.text_models import TextEncoder, TextScorer
from deepseek_workloads.store.interface import ObjectStore


@dataclass(frozen=True)
class TextModelsOnDemand:
    """TextModels of `data.prepare`. It can be pickled."""

    def encoder(self, store: ObjectStore) -> TextEncoder:
        from deepseek_workloads.export.text_models import TorchTextModels

        return TorchTextModels().encoder(store)

    def scorer(self, store: ObjectStore) -> TextScorer:
        from deepseek_workloads.export.text_models import TorchTextModels

        return TorchTextModels().scorer(store)
