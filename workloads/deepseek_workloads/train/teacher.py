"""The model that a run distils from, beside its own: of an export, or of a Hugging Face folder."""

from collections.abc import Callable
from contextlib import closing
from typing import Final

import torch

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import InitialExport, Storage
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import lowered
from deepseek_workloads.export.start import open_initial_model
from deepseek_workloads.export.stream_weights import load_weights
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.interface import NotFound, ObjectStore
from deepseek_workloads.train.group import Group

_FIELD: Final = "spec.training.distillation.teacher"


def load_teacher(
    location: InitialExport, open_store: Callable[[Storage], ObjectStore], *, dtype: torch.dtype, group: Group
) -> DeepseekV3ForCausalLM:
    """A collective: every rank gets the whole model in `dtype` but for router biases, in evaluation mode and
    without modules for more than the next token. Raises ExportError and StoreErrors."""
    with closing(open_store(location)) as store:
        try:
            source = open_initial_model(store, recorded=location.digest)
            architecture = source.architecture().model_copy(update={"num_nextn_predict_layers": 0})
            model = _without_values(architecture, dtype=dtype, device=group.device)
            load_weights(source, model, architecture, group=group)
        except (ExportError, NotFound) as error:
            raise type(error)(f"{_FIELD}: {error}") from error
    return model.eval()


def _without_values(
    architecture: Architecture, *, dtype: torch.dtype, device: torch.device
) -> DeepseekV3ForCausalLM:
    """Never wider than it will be."""
    with torch.device("meta"):
        model = DeepseekV3ForCausalLM(architecture)
    lowered(model, dtype).to_empty(device=device)
    if architecture.tie_word_embeddings:  # to_empty has untied them
        model.lm_head.weight = model.model.embed_tokens.weight
    for buffer in model.buffers():  # those of training are in no file
        buffer.zero_()
    return model
