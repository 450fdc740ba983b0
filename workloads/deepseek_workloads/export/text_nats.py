"""How well an exported model predicts a text, in nats."""

from collections.abc import Sequence

import torch

from deepseek_workloads.export.load import LoadedExport


@torch.inference_mode()
def nats_of(export: LoadedExport, ids: Sequence[int], *, window: int) -> float:
    """Of all tokens but the first, each predicted by those before it in its window. A model that is damaged
    gives a number that is not finite."""
    return sum(_nats(export, part) for part in _windows(ids, window))


def tokens_to_predict(export: LoadedExport, ids: Sequence[int]) -> list[int]:
    """After the token that ends a document, where the model has one, as in training."""
    eos = export.eos_token_id
    return [*([] if eos is None else [eos]), *ids]


def _windows(ids: Sequence[int], length: int) -> list[Sequence[int]]:
    """Each but the first begins with the last token of the one before: every token is predicted once."""
    return [ids[at : at + length + 1] for at in range(0, len(ids) - 1, length)]


def _nats(export: LoadedExport, window: Sequence[int]) -> float:
    device = export.model.lm_head.weight.device
    parts = export.model.loss(torch.tensor([list(window)], device=device))
    return float(parts.lm_loss) * parts.tokens
