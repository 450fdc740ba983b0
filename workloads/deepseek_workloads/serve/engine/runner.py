"""The model's side of decoding: prompts in pieces, then one token a row and step. It chooses no tokens."""

import torch
from torch import Tensor

from deepseek_workloads.model.batch_cache import BatchCaches
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.tensors import cache_width

PREFILL_TOKENS = 512  # of a prompt at a time: rows that are decoded meanwhile wait no longer than that


class Prefill:
    """A prompt that is read piece by piece."""

    def __init__(self, model: DeepseekV3ForCausalLM, prompt: tuple[int, ...]) -> None:
        self._model = model
        self._pending = prompt
        self._done = 0
        self.caches = model.caches()

    def advance(self) -> Tensor | None:
        """The next piece. After the last one the logits [V] of what follows the prompt."""
        piece = self._pending[self._done : self._done + PREFILL_TOKENS]
        ids = torch.tensor([piece], device=self._model.lm_head.weight.device)
        logits: Tensor = self._model(ids, start=self._done, caches=self.caches)
        self._done += len(piece)
        return logits[0, -1] if self._done == len(self._pending) else None


class Runner:
    """The rows that are decoded together."""

    def __init__(self, model: DeepseekV3ForCausalLM) -> None:
        self.model = model
        self.device = model.lm_head.weight.device
        self.reset()

    def reset(self) -> None:
        """Forgets every row."""
        a = self.model.architecture
        self._caches = BatchCaches(
            layers=a.num_hidden_layers,
            width=cache_width(a),
            dtype=self.model.lm_head.weight.dtype,
            device=self.device,
        )

    def prefill(self, prompt: tuple[int, ...]) -> Prefill:
        return Prefill(self.model, prompt)

    def join(self, prefill: Prefill) -> None:
        """As the last row."""
        self._caches.join(prefill.caches)

    def leave(self, row: int) -> None:
        """The last row takes its place."""
        self._caches.leave(row)

    def decode(self, tokens: list[int]) -> Tensor:
        """The newest token of each row -> logits [rows, V] of the next."""
        self._caches.begin_step()
        ids = torch.tensor(tokens, device=self.device).unsqueeze(1)
        logits: Tensor = self.model(ids, start=self._caches.lengths, caches=self._caches.layers)
        self._caches.end_step()
        return logits[:, 0]
