"""Continues a prompt token by token from the layers' caches. One sequence; it knows token ids only.

The serving engine is another thing: this is for a look at a model.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM

GREEDY_BELOW = 1e-5  # a temperature: what float32 leaves of a smaller one divides 0 by 0


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0, or less than GREEDY_BELOW, takes the most probable token; `top_p` keeps the smallest
    set of tokens that together have at least that probability."""

    max_tokens: int = 64
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: {self.max_tokens}: must be at least 1")
        if not self.temperature >= 0:
            raise ValueError(f"temperature: {self.temperature}: must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p}: must be in (0, 1]; 1 keeps every token")

    @property
    def greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW


@torch.inference_mode()
def generate(
    model: DeepseekV3ForCausalLM, prompt: Sequence[int], *, sampling: Sampling, stop: Collection[int] = ()
) -> Iterator[int]:
    """New token ids, without the stopping one; ends at `max_tokens` or where the model's positions end.

    Raises ValueError for a prompt that is empty or leaves no position free.
    """
    limit = model.architecture.max_position_embeddings
    if not 0 < len(prompt) < limit:
        raise ValueError(f"prompt: {len(prompt)} tokens: must be 1..{limit - 1}; shorten it")
    device = model.lm_head.weight.device
    generator = torch.Generator(device).manual_seed(sampling.seed)
    caches = model.caches()
    pending = torch.tensor([list(prompt)], device=device)
    position = 0
    for _ in range(min(sampling.max_tokens, limit - len(prompt))):
        logits: Tensor = model(pending, start=position, caches=caches)
        position += pending.shape[1]
        token = choose(logits[0, -1], sampling, generator)
        if token in stop:
            return
        yield token
        pending = torch.tensor([[token]], device=device)


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token id from `logits` [V]."""
    if sampling.greedy:
        return int(logits.argmax())
    # The largest becomes 0, so that no temperature divides it to infinity.
    probabilities = ((logits.float() - logits.max()) / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, tokens = probabilities.sort(descending=True)
        before = ordered.cumsum(-1) - ordered
        probabilities = probabilities.index_fill(0, tokens[before >= sampling.top_p], 0)
    # In the order of ids: the last bit of a probability, which depends on the batch, decides nothing.
    return int(torch.multinomial(probabilities, 1, generator=generator))
