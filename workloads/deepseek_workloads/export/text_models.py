"""Models of texts that the stages of a preparation name by URI, by torch."""

import math
from dataclasses import dataclass
from typing import Final

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import LoadedExport, load_export
from deepseek_workloads.export.sentence_encoder import SentenceEncoder, load_sentence_encoder
from deepseek_workloads.export.text_nats import nats_of, tokens_to_predict
from deepseek_workloads.store.interface import NotFound, ObjectStore

SCORED_TOKENS: Final = 4096  # of a text: its beginning tells


@dataclass(frozen=True)
class ExportScorer:
    """Perplexity under an exported model."""

    export: LoadedExport
    window: int  # tokens that the model sees at a time

    def perplexity(self, text: str) -> float:
        """A character of those that SCORED_TOKENS stand for. Raises DatasetError for a model whose loss is
        not finite."""
        encoding = self.export.tokenizer.encode(text, add_special_tokens=False)
        ids = tokens_to_predict(self.export, encoding.ids[:SCORED_TOKENS])
        characters = encoding.offsets[:SCORED_TOKENS][-1][1] if encoding.offsets else 0
        if len(ids) < 2 or characters == 0:
            return math.inf
        nats = nats_of(self.export, ids, window=self.window)
        if not math.isfinite(nats):
            raise DatasetError(
                "filterPerplexity.model.uri: the model's loss is not finite: its weights are damaged; export "
                "it again from a good checkpoint",
                reasons.EXPORT_INVALID,
            )
        return math.exp(min(nats / characters, 700.0))


@dataclass(frozen=True)
class TorchTextModels:
    """What `data.prepare` takes as TextModels."""

    def encoder(self, store: ObjectStore) -> SentenceEncoder:
        return load_sentence_encoder(store)

    def scorer(self, store: ObjectStore) -> ExportScorer:
        """Of an export of ours, held against its manifest."""
        try:
            export = load_export(store)
        except (ExportError, NotFound) as error:
            raise DatasetError(
                f"filterPerplexity.model.uri: {store.uri}: {error}: name an export, as spec.storage of a "
                "training job has them below exports/",
                reasons.INVALID_RUN_CONFIG,
            ) from error
        return ExportScorer(export, export.model.architecture.max_position_embeddings)
