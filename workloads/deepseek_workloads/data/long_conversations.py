"""Conversations that are longer than a sequence: how many there are, and what of them no step will see.

Pure; where documents begin is known, what they say is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.windows import Offsets


@dataclass(frozen=True)
class LongConversations:
    """Of the training split of one source."""

    source: str
    conversations: int
    long: int  # of them
    longest: int  # tokens of the longest
    tokens: int  # of all
    lost_tokens: int  # that are cut off, or of conversations that are dropped
    sequence_length: int
    dropped: bool

    @property
    def lost_share(self) -> float:
        return self.lost_tokens / self.tokens

    def __str__(self) -> str:
        done = "dropped" if self.dropped else "cut at data.sequenceLength + 1"
        other = "" if self.dropped else ", or data.longConversations drop or refuse"
        return (
            f"data source {self.source!r}: {self.long} of {self.conversations} conversations are longer than "
            f"{self.sequence_length + 1} tokens and are {done}: {self.lost_tokens} of {self.tokens} tokens "
            f"({self.lost_share:.1%}) are not trained on; none would be lost with sequenceLength "
            f"{self.longest - 1}{other}"
        )


def long_conversations(plan: SamplePlan) -> Iterator[LongConversations]:
    """One for each source that has any; none of running text."""
    dropped = plan.data.long_conversations == "drop"
    for source, documents in zip(plan.data.sources, plan.documents, strict=False):
        found = measure(source.name, documents.train, sequence_length=plan.sequence_length, dropped=dropped)
        if found is not None:
            yield found


def measure(
    source: str, document_starts: Offsets, *, sequence_length: int, dropped: bool
) -> LongConversations | None:
    """`document_starts`: rising, the last entry is the end of the last document. None: all fit."""
    sizes = np.diff(document_starts)
    long = sizes[sizes > sequence_length + 1]
    if not len(long):
        return None
    return LongConversations(
        source=source,
        conversations=len(sizes),
        long=len(long),
        longest=int(long.max()),
        tokens=int(sizes.sum()),
        lost_tokens=int((long if dropped else long - sequence_length - 1).sum()),
        sequence_length=sequence_length,
        dropped=dropped,
    )
