"""The model's continuations of the run's prompts, as it is in the middle of training.

All ranks go through the model together, as its shards need it; rank 0's choice of each token counts for all.
"""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from deepseek_workloads.model.images import Images
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.parallelise import ParallelModel

MAX_NEW_TOKENS = 48


@torch.no_grad()
def continue_prompts(
    model: ParallelModel,
    group: Group,
    *,
    tokenizer_document: bytes,
    eos_token_id: int,
    prompts: Sequence[str],
) -> dict[str, str]:
    """By prompt the most probable continuation, of at most MAX_NEW_TOKENS. A collective."""
    tokenizer = Tokenizer.from_str(tokenizer_document.decode())
    model.module.eval()
    texts = {}
    for prompt in prompts:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        new = continue_tokens(model, group, ids, eos_token_id=eos_token_id, max_new_tokens=MAX_NEW_TOKENS)
        # Decoded together: the first new token may end a character that the prompt's last one began.
        texts[prompt] = tokenizer.decode(ids + new)[len(tokenizer.decode(ids)) :]
    model.release()
    return texts


@torch.no_grad()
def continue_tokens(
    model: ParallelModel,
    group: Group,
    ids: Sequence[int],
    *,
    eos_token_id: int,
    max_new_tokens: int,
    images: Images | None = None,
) -> list[int]:
    """A collective. The most probable tokens after `ids`, up to the end of the text; `images` are those of
    `ids`. Nothing for a prompt without tokens, or one that leaves no position free."""
    free = model.plain.architecture.max_position_embeddings - len(ids)
    if not ids:
        return []
    caches = model.plain.caches()
    pending, position = list(ids), 0
    new: list[int] = []
    while len(new) < min(max_new_tokens, free):
        with model.compute(group.device), model.plain.images.within(None if new else images):
            logits = model.logits(torch.tensor([pending], device=group.device), start=position, caches=caches)
        if caches is not None:
            position += len(pending)
        token = int(group.sum((logits[0, -1].argmax() if group.rank == 0 else logits.new_zeros(())).long()))
        if token == eos_token_id:
            break
        new.append(token)
        pending = [token] if caches is not None else [*pending, token]
    return new
