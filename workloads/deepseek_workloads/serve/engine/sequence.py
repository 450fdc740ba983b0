"""One request on its way: which tokens it has, what of them may be read, when it ends. No model."""

import time
from dataclasses import dataclass, field

import torch

from deepseek_workloads.serve.engine.answer import Answer, Delta, FinishReason, Generation
from deepseek_workloads.serve.engine.text import Decode, Detokenizer, StopStrings


@dataclass
class Sequence:
    generation: Generation
    answer: Answer
    arrived: float  # monotonic seconds
    last: int = 0  # the token that the next step is given
    tokens: int = 0  # generated; the one that ends a text does not count
    first_token: float | None = None
    finish_reason: FinishReason | None = None
    generator: torch.Generator = field(init=False)
    _detokenizer: Detokenizer = field(init=False)
    _stops: StopStrings = field(init=False)

    def begin(self, decode: Decode, device: torch.device) -> None:
        sampling = self.generation.sampling
        self.generator = torch.Generator(device).manual_seed(sampling.seed)
        self._detokenizer = Detokenizer(decode, prompt=self.generation.prompt)
        self._stops = StopStrings(self.generation.stop)

    def push(self, token: int, *, eos: int | None) -> None:
        """Takes the next token and puts what is certain of the text into the answer."""
        if self.first_token is None:
            self.first_token = time.monotonic()
        if token == eos:
            self._finish("stop", "", tokens=0)
            return
        self.last = token
        self.tokens += 1
        text, stopped = self._stops.push(self._detokenizer.push(token))
        if stopped:
            self.finish_reason = "stop"
            self.answer.put(Delta(text, 1, "stop"))
        elif self.tokens >= self.generation.sampling.max_tokens:
            self._finish("length", text, tokens=1)
        else:
            self.answer.put(Delta(text, 1))

    def _finish(self, reason: FinishReason, text: str, *, tokens: int) -> None:
        """What was held back comes out, unless it makes a stop string whole."""
        rest, stopped = self._stops.push(self._detokenizer.flush())
        self.finish_reason = "stop" if stopped else reason
        self.answer.put(Delta(text + rest + self._stops.flush(), tokens, self.finish_reason))
