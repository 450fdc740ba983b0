"""The engine's thread: takes requests in between steps, decodes them together, gives up cancelled ones.

It knows neither HTTP nor where the model came from. Everything that other threads may call is in `Engine`.
"""

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from deepseek_workloads.contract.run_config import Engine as EngineSettings
from deepseek_workloads.export.generate import choose
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.engine.answer import Answer, EngineError, Generation, QueueFull
from deepseek_workloads.serve.engine.runner import Prefill, Runner
from deepseek_workloads.serve.engine.sequence import Sequence
from deepseek_workloads.serve.engine.text import Decode

Result = TypeVar("Result")
JOIN_SECONDS = 10.0
ENDED = "the engine has ended before this request had its answer"
NOT_FINITE = "the model gave logits that are not finite (NaN or infinite) for this request"


class Observer(Protocol):
    """Told by the engine's thread; must not block."""

    def first_token(self, seconds: float) -> None: ...

    def finished(self, *, prompt_tokens: int, tokens: int, seconds_per_token: float | None) -> None: ...


class Engine:
    """`submit` and `call` may be used from any event loop. Not alive any more once its thread has died."""

    def __init__(
        self,
        model: DeepseekV3ForCausalLM,
        *,
        decode: Decode,
        eos_token_id: int | None,
        settings: EngineSettings,
        observer: Observer,
    ) -> None:
        self._runner = Runner(model)
        self._decode_text, self._eos = decode, eos_token_id
        self._settings, self._observer = settings, observer
        self._changed = threading.Condition()  # guards the four below
        self._waiting: deque[Sequence] = deque()
        self._calls: deque[tuple[Callable[[DeepseekV3ForCausalLM], Any], Future[Any]]] = deque()
        self._closed = False
        self._busy = 0  # sequences that hold a place
        self._prefilling: deque[tuple[Sequence, Prefill]] = deque()
        self._rows: list[Sequence] = []  # as the runner's
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # ---- for other threads

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends after the step that is going on. Requests without an end are failed."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(JOIN_SECONDS)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        with self._changed:
            return len(self._waiting) + len(self._calls)

    @property
    def running(self) -> int:
        with self._changed:
            return self._busy

    def submit(self, generation: Generation) -> Answer:
        """In an event loop. Raises QueueFull."""
        answer = Answer()
        with self._changed:
            self._require_room()
            self._waiting.append(Sequence(generation, answer, arrived=time.monotonic()))
            self._changed.notify()
        return answer

    async def call(self, function: Callable[[DeepseekV3ForCausalLM], Result]) -> Result:
        """Runs it with the model between two steps. Raises QueueFull, and what the function raises."""
        future: Future[Result] = Future()
        with self._changed:
            self._require_room()
            self._calls.append((function, future))
            self._changed.notify()
        return await asyncio.wrap_future(future)

    def _require_room(self) -> None:
        if self._closed or not self._thread.is_alive():
            raise EngineError("the engine has ended; this replica is being replaced")
        limit = self._settings.max_queued_requests
        if len(self._waiting) + len(self._calls) >= limit:
            raise QueueFull(f"{limit} requests are waiting, which is the limit of this replica")

    # ---- the thread

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._run_calls()
                self._drop_cancelled()
                self._admit()
                self._prefill()
                self._decode()
        finally:
            with self._changed:
                self._closed = True
                calls = list(self._calls)
                self._calls.clear()
            for _, future in calls:
                if future.set_running_or_notify_cancel():
                    future.set_exception(EngineError(ENDED))
            for sequence in [*self._rows, *(sequence for sequence, _ in self._prefilling), *self._waiting]:
                sequence.answer.fail(ENDED)

    def _wait_for_work(self) -> bool:
        """False: closed. An idle engine that gets its first request waits a little for others."""
        with self._changed:
            self._busy = len(self._rows) + len(self._prefilling)
            if self._busy:
                return not self._closed
            self._changed.wait_for(lambda: self._closed or self._waiting or self._calls)
            full = self._settings.max_num_seqs
            self._changed.wait_for(
                lambda: self._closed or self._calls or len(self._waiting) >= full,
                timeout=self._settings.batch_wait_ms / 1000,
            )
            return not self._closed

    def _run_calls(self) -> None:
        with self._changed:
            calls = list(self._calls)
            self._calls.clear()
        for function, future in calls:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(self._runner.model))
            except Exception as error:
                future.set_exception(error)

    def _drop_cancelled(self) -> None:
        with self._changed:
            self._waiting = deque(sequence for sequence in self._waiting if not sequence.answer.cancelled)
        self._prefilling = deque(pair for pair in self._prefilling if not pair[0].answer.cancelled)
        self._remove([row for row, sequence in enumerate(self._rows) if sequence.answer.cancelled])

    def _admit(self) -> None:
        with self._changed:
            free = self._settings.max_num_seqs - len(self._rows) - len(self._prefilling)
            admitted = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            self._busy = len(self._rows) + len(self._prefilling) + len(admitted)
        for sequence in admitted:
            try:
                sequence.begin(self._decode_text, self._runner.device)
            except Exception as error:
                self._fail([sequence], error)
                continue
            self._prefilling.append((sequence, self._runner.prefill(sequence.generation.prompt)))

    def _prefill(self) -> None:
        """One piece of one prompt, so that those who are decoding go on."""
        if not self._prefilling:
            return
        sequence, prefill = self._prefilling[0]
        try:
            logits = prefill.advance()
        except Exception as error:
            self._prefilling.popleft()
            self._fail([sequence], error)
            return
        if logits is None:
            return
        self._prefilling.popleft()
        if not torch.isfinite(logits).all():
            sequence.answer.fail(NOT_FINITE)
            return
        if not self._give(sequence, int(logits.argmax()), logits):
            return
        self._observer.first_token(time.monotonic() - sequence.arrived)
        if sequence.finish_reason is None:
            self._runner.join(prefill)
            self._rows.append(sequence)
        else:
            self._finished(sequence)

    def _decode(self) -> None:
        if not self._rows:
            return
        try:
            logits = self._runner.decode([sequence.last for sequence in self._rows])
            finite = torch.isfinite(logits).all(-1).tolist()
            best = logits.argmax(-1).tolist()
        except Exception as error:
            self._fail(self._rows, error)
            self._rows = []
            self._runner.reset()
            return
        ended = []
        for row, sequence in enumerate(self._rows):
            if not finite[row]:
                sequence.answer.fail(NOT_FINITE)
                ended.append(row)
            elif not self._give(sequence, best[row], logits[row]):
                ended.append(row)
            elif sequence.finish_reason is not None:
                self._finished(sequence)
                ended.append(row)
        self._remove(ended)

    def _give(self, sequence: Sequence, best: int, logits: Tensor) -> bool:
        """Its next token. False: that failed, and the request with it; no other is touched."""
        sampling = sequence.generation.sampling
        try:
            token = best if sampling.greedy else choose(logits, sampling, sequence.generator)
            sequence.push(token, eos=self._eos)
        except Exception as error:
            self._fail([sequence], error)
            return False
        return True

    def _finished(self, sequence: Sequence) -> None:
        assert sequence.first_token is not None
        steps = sequence.tokens - 1
        elapsed = time.monotonic() - sequence.first_token
        self._observer.finished(
            prompt_tokens=len(sequence.generation.prompt),
            tokens=sequence.tokens,
            seconds_per_token=elapsed / steps if steps > 0 else None,
        )

    def _remove(self, rows: list[int]) -> None:
        for row in sorted(rows, reverse=True):  # from the end: the last row takes a place that is kept
            self._runner.leave(row)
            self._rows[row] = self._rows[-1]
            self._rows.pop()

    def _fail(self, sequences: list[Sequence], error: Exception) -> None:
        traceback.print_exception(error)
        for sequence in sequences:
            sequence.answer.fail(f"the model failed on this request ({type(error).__name__})")
