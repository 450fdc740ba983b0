"""The model's continuations of prompts, as it is in the middle of training.

Ranks that read samples of their own take prompts of their own, in rounds of one each. Where they share
weights, those that have ended go through the model along with the others, as its shards need it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from tokenizers import Tokenizer
from torch import Tensor

from deepseek_workloads.model.images import Images
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.parallelise import ParallelModel

MAX_NEW_TOKENS = 48


@dataclass(frozen=True)
class Prompt:
    ids: Sequence[int]
    images: Images | None = None  # those of `ids`


_ALONG = Prompt([0])  # of a rank that has ended; what follows it is not looked at


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
    of_texts = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    asked = (Prompt(ids) for ids in of_texts)
    found = continuations(model, group, asked, eos_token_id=eos_token_id, max_new_tokens=MAX_NEW_TOKENS)
    # Decoded together: the first new token may end a character that the prompt's last one began.
    return {
        prompt: tokenizer.decode(ids + new)[len(tokenizer.decode(ids)) :]
        for prompt, ids, new in zip(prompts, of_texts, found, strict=True)
    }


@torch.no_grad()
def continuations(
    model: ParallelModel, group: Group, prompts: Iterable[Prompt], *, eos_token_id: int, max_new_tokens: int
) -> list[list[int]]:
    """A collective; `prompts` are the same on every rank, and so is the result: for each, in their order, the
    most probable tokens after it, up to the end of the text. Nothing for a prompt without tokens, or one that
    leaves no position free."""
    model.module.eval()
    found: list[list[int]] = []
    for of_round in _in_rounds(prompts, model.layout.data):
        found += _round(model, group, of_round, eos_token_id=eos_token_id, max_new_tokens=max_new_tokens)
    model.release()
    return found


def _in_rounds(prompts: Iterable[Prompt], size: int) -> Iterator[list[Prompt]]:
    remaining = iter(prompts)
    while of_round := list(islice(remaining, size)):
        yield of_round


def _round(
    model: ParallelModel, group: Group, prompts: Sequence[Prompt], *, eos_token_id: int, max_new_tokens: int
) -> list[list[int]]:
    """Prompt i is of the ranks that read slice i. All ranks are told each token, so that all know when it
    ends; that of the first rank of a slice counts for the others."""
    layout, mine = model.layout, model.layout.data_rank(group.rank)
    shared = layout.sharded or layout.model_parallel
    most = [_most(model, prompt, max_new_tokens) for prompt in prompts]
    new: list[list[int]] = [[] for _ in prompts]
    going = [number for number in range(len(prompts)) if most[number]]
    own = _Continuation(model, group.device, prompts[mine]) if mine in going else None
    while going:
        chosen = torch.zeros(layout.data, dtype=torch.int64, device=group.device)
        if own is not None and mine in going:
            token = own.logits(new[mine]).argmax()
            chosen[mine] = token if layout.leads_data(group.rank) else 0
        elif shared:
            _Continuation(model, group.device, _ALONG).logits([])
        tokens = group.sum(chosen).tolist()
        ended = [number for number in going if tokens[number] == eos_token_id]
        going = [number for number in going if number not in ended]
        for number in going:
            new[number].append(tokens[number])
        going = [number for number in going if len(new[number]) < most[number]]
    return new


def _most(model: ParallelModel, prompt: Prompt, max_new_tokens: int) -> int:
    """Tokens that may follow."""
    free = model.plain.architecture.max_position_embeddings - len(prompt.ids)
    return max(0, min(max_new_tokens, free)) if prompt.ids else 0


class _Continuation:
    """One prompt on this rank."""

    def __init__(self, model: ParallelModel, device: torch.device, prompt: Prompt) -> None:
        self._model, self._device, self._ids = model, device, list(prompt.ids)
        self._images = prompt.images.to(device) if prompt.images is not None else None
        self._caches, self._cached = model.plain.caches(), 0  # positions

    def logits(self, new: Sequence[int]) -> Tensor:
        """[V] of what follows the prompt and `new`, of which no token was taken away since the last call."""
        ids = [*self._ids, *new]
        images = self._images if self._cached == 0 else None
        pending = torch.tensor([ids[self._cached :]], device=self._device)
        with self._model.compute(self._device), self._model.plain.images.within(images):
            logits = self._model.logits(pending, start=self._cached, caches=self._caches)
        if self._caches is not None:
            self._cached = len(ids)
        return logits[0, -1]
