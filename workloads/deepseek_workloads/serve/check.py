"""What a model has to pass before it gets its first request: it answers prompts, with finite logits, and it
predicts held-out text no worse than the model that it is to replace.

It works on a loaded export, by the very code that serves, and knows neither requests nor pods.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import ServingCheck
from deepseek_workloads.export.text_nats import nats_of, tokens_to_predict
from deepseek_workloads.serve.engine.runner import Runner
from deepseek_workloads.serve.served_model import ServedModel

SMOKE_PROMPTS = ("The", "Once upon a time", "def main():", "1 2 3 4 5")
SMOKE_TOKENS = 8


class CheckFailed(Exception):
    """The revision must not be served. The message says what was found and what had to be."""

    reason = reasons.CHECK_FAILED


@dataclass(frozen=True)
class CheckReport:
    bits_per_byte: float | None = None  # on the export's own held-out text
    bits_per_byte_on_baseline: float | None = None
    warnings: list[str] = field(default_factory=list)


@torch.inference_mode()
def check(
    model: ServedModel, settings: ServingCheck, *, baseline_texts: Sequence[str] = (), missing: str = ""
) -> CheckReport:
    """`baseline_texts`: held-out text of the baseline's export; `missing`: why there is none. Raises
    CheckFailed."""
    for prompt in settings.prompts or SMOKE_PROMPTS:
        _answer(model, prompt)
    warnings = []
    if not model.export.held_out:
        warnings.append("the export holds no held-out text: it was checked by prompts and logits only")
    own = bits_per_byte(model, model.export.held_out)
    compared = None
    if settings.baseline is not None:
        compared = bits_per_byte(model, baseline_texts)
        if compared is None:
            why = missing or "the active revision's export has no held-out text"
            warnings.append(f"not compared: {why}")
        else:
            _compare(compared, settings)
    return CheckReport(own, compared, warnings)


def _compare(found: float, settings: ServingCheck) -> None:
    assert settings.baseline is not None
    limit = settings.baseline.bits_per_byte + settings.max_bits_per_byte_increase
    if found > limit:
        raise CheckFailed(
            f"{found:.4f} bits per byte on the active revision's held-out text: must be at most {limit:.4f}, "
            f"which is the active revision's {settings.baseline.bits_per_byte:.4f} and a tolerance of "
            f"{settings.max_bits_per_byte_increase}: train it longer, or raise the tolerance"
        )


def _answer(model: ServedModel, prompt: str) -> None:
    """A few tokens, as the engine would make them."""
    ids = model.encode_prompt(prompt)[: max(1, model.max_model_len - SMOKE_TOKENS)]
    runner = Runner(model.export.model)
    prefill = runner.prefill(ids)
    while (logits := prefill.advance()) is None:
        pass
    _require_finite(logits, prompt)
    runner.join(prefill)
    for _ in range(min(SMOKE_TOKENS, model.max_model_len - len(ids))):
        logits = runner.decode([int(logits.argmax())])[0]
        _require_finite(logits, prompt)


def _require_finite(logits: Tensor, prompt: str) -> None:
    if not torch.isfinite(logits).all():
        raise CheckFailed(
            f"prompt {prompt[:40]!r}: logits that are not finite (NaN or infinite): the weights are damaged; "
            "export the model again from a good checkpoint"
        )


@torch.inference_mode()
def bits_per_byte(model: ServedModel, texts: Sequence[str]) -> float | None:
    """Each text by itself, after the token that ends a document where the model has one; None without text.

    Raises CheckFailed for a loss that is not finite.
    """
    nats, size = 0.0, 0
    for text in texts:
        ids = model.export.tokenizer.encode(text, add_special_tokens=False).ids
        nats += nats_of(model.export, tokens_to_predict(model.export, ids), window=model.max_model_len)
        size += len(text.encode())
    if not size:
        return None
    if not math.isfinite(nats):
        raise CheckFailed(
            "held-out text: the loss is not finite: the weights are damaged; export the model again from a "
            "good checkpoint"
        )
    return nats / math.log(2) / size
