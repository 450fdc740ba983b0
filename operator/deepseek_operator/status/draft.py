"""A condition without its times, and how a new one follows an earlier one. Pure; it knows no kind."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from deepseek_operator.api.meta import Condition
from deepseek_operator.status.text import long

_NO_LETTER: Final = re.compile(r"[^A-Za-z0-9]")
_MAX_REASON: Final = 128


@dataclass(frozen=True)
class Draft:
    """A condition without its times."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def merge(
    previous: Iterable[Condition], drafts: Iterable[Draft], *, now: datetime, generation: int
) -> list[Condition]:
    """Times of transitions stay where the status stayed. Conditions of others are kept."""
    earlier = {condition.type: condition for condition in previous}
    merged = dict(earlier)
    for draft in drafts:
        before = earlier.get(draft.type)
        stayed = before is not None and before.status == draft.status
        merged[draft.type] = Condition(
            type=draft.type,
            status=draft.status,
            reason=_camel_case(draft.reason),
            message=long(draft.message),
            last_transition_time=before.last_transition_time if before is not None and stayed else now,
            observed_generation=generation,
        )
    return list(merged.values())


def _camel_case(reason: str) -> str:
    """A reason may come from a tenant's pod: whatever it is, the API server must take it."""
    word = _NO_LETTER.sub("", reason)[:_MAX_REASON].lstrip("0123456789")
    return word or "Unknown"
