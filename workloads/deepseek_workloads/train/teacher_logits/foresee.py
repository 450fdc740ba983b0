"""A teacher's most probable next tokens at the positions of a pass whose labels count."""

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F

from deepseek_workloads.data.rows import Rows
from deepseek_workloads.data.top_k import TopK
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS

_COPIES: Final = 4  # float32 arrays of logits' size of a chunk of positions


@torch.no_grad()
def top_k_of(teacher: DeepseekV3ForCausalLM, rows: Rows, *, top_k: int, temperature: float) -> TopK:
    """It sees what a student sees: the documents of a row are apart where `rows` say so."""
    weight = teacher.lm_head.weight
    positions = np.flatnonzero(rows.counted)
    with teacher.documents.within(rows.documents_of_inputs, device=weight.device):
        hidden = teacher.model(rows.input_ids[:, :-1].to(weight.device)).last.flatten(0, 1)
    hidden = hidden[torch.from_numpy(positions).to(weight.device)]
    chunk = max(1, LOSS_CHUNK_ELEMENTS[hidden.is_cuda] // (_COPIES * weight.shape[0]))
    parts = []
    for of_chunk in hidden.split(chunk):
        logarithms = (F.linear(of_chunk, weight).float() / temperature).log_softmax(-1)
        values, ids = logarithms.topk(top_k, dim=-1)
        rest = logarithms.scatter_(-1, ids, -torch.inf).logsumexp(-1)
        parts.append((ids.cpu().numpy().astype(np.uint32), values.cpu().numpy(), rest.cpu().numpy()))
    ids_of, values_of, rest_of = (np.concatenate(column) for column in zip(*parts, strict=True))
    return TopK(positions, ids_of, values_of, rest_of)
