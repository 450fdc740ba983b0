"""Which checkpoints of a run are kept. It may change while the run goes: newer ones come with `Control`."""

from typing import Final, Literal

from pydantic import Field

from deepseek_workloads.contract.wire import TolerantWireModel

STEP_METRICS: Final = ("loss", "gradient_norm", "learning_rate", "tokens_per_second")
HELD_OUT_METRICS: Final = ("held_out_loss", "held_out_bits_per_byte", "perplexity", "accuracy")
ANSWER_METRICS: Final = ("bleu", "token_f1")  # of held-out conversations
# As the lines of a run's metrics call those of a step.
_OF_LINES: Final = {
    "gradientNorm": "gradient_norm",
    "learningRate": "learning_rate",
    "tokensPerSecond": "tokens_per_second",
}


class KeepBest(TolerantWireModel):
    """By a figure of the checkpoint's record; one without it is no candidate."""

    metric: str
    mode: Literal["min", "max"] = "min"
    count: int = Field(default=1, ge=1)

    @property
    def recorded_metric(self) -> str:
        """The name in a checkpoint's record."""
        return _OF_LINES.get(self.metric, self.metric)


class Retention(TolerantWireModel):
    """A checkpoint stays while one of these wants it."""

    keep_last: int = Field(default=3, ge=1)
    keep_every: int | None = Field(default=None, ge=1)  # steps that it divides stay for good; None: none does
    keep_best: KeepBest | None = None
