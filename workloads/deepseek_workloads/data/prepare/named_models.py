"""Models that stages name by URI: opened for a task, and tried before any work.

Static embeddings are looked up here; other models are what the context has for them.
"""

import json
from typing import Final

from deepseek_workloads.contract.pipeline import DeduplicateSemantic, FilterPerplexity
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.embedding import CONFIG_FILE, load_embedding_model
from deepseek_workloads.data.prepare.evaluation_sets import model_lines
from deepseek_workloads.data.prepare.records import ModelRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.text_models import TextEncoder, TextScorer
from deepseek_workloads.store.interface import NotFound, ObjectStore

_STATIC: Final = (None, "model2vec")  # model_type of a config.json
_PROBE: Final = "The model answers."


def open_encoder(context: Context, settings: DeduplicateSemantic) -> TextEncoder:
    """A static model, or a transformer. Raises DatasetError, and StoreErrors."""
    uri = settings.model.uri
    with context.open(context.run.raw_storage.model_copy(update={"uri": uri})) as store:
        static = _model_type(store) in _STATIC
        return load_embedding_model(store) if static else context.text_models.encoder(store)


def open_scorer(context: Context, uri: str) -> TextScorer:
    """Raises DatasetError, and StoreErrors."""
    with context.open(context.run.raw_storage.model_copy(update={"uri": uri})) as store:
        return context.text_models.scorer(store)


def check_model(
    context: Context, stage: str, settings: DeduplicateSemantic | FilterPerplexity, _task: int
) -> ModelRecord:
    """Before any other work, where the tasks run: they have its memory. Raises DatasetError."""
    assert settings.model is not None
    before = model_lines(context, settings.model.uri)
    if isinstance(settings, DeduplicateSemantic):
        open_encoder(context, settings).embed([_PROBE])
    else:
        open_scorer(context, settings.model.uri).perplexity(_PROBE)
    with context.output() as store:
        return put_record(store, context, stage, ModelRecord(number=0, sets=before))


def _model_type(store: ObjectStore) -> str | None:
    """As Hugging Face's config.json has it."""
    try:
        config = json.loads(store.read(CONFIG_FILE))
    except (NotFound, ValueError):
        return None  # the static model's loader says what is wrong
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None
